/** The public names of the package. */
export { type EngineOptions, openEngine } from './engine/engine.ts'
export {
  CalibrationError,
  CheckpointError,
  EngineError,
  OutputError,
  PlanError,
  ToolkitError,
  UnsupportedModelError,
} from './errors.ts'
export { measurePerplexity, type PerplexityReport } from './evaluate/perplexity.ts'
export { exportHuggingFace, type HuggingFaceExport, type HuggingFaceExportOptions } from './export/huggingface.ts'
export { type BlockPrunerOptions, blockPruner } from './methods/blockPruner.ts'
export { applyPlan } from './model/applyPlan.ts'
export { type LoadOptions, loadModel } from './model/load.ts'
export type { Model } from './model/model.ts'
export { emptyPlan, remainingBlocks, removedParameters, withoutBlock } from './model/plan.ts'
export { type PerplexityOptions, perplexityObjective } from './objectives/perplexity.ts'
export { type ApplyRequest, applyPlanFile } from './run/applyPlanFile.ts'
export type { Budget } from './run/budget.ts'
export { type RowsRequest, readRows } from './run/calibrate.ts'
export { type EvaluateRequest, type EvaluateResult, evaluateModel } from './run/evaluateModel.ts'
export { type PlanFile, type PlanStep, readPlanFile } from './run/planFile.ts'
export {
  type Comparison,
  type PruneModelRequest,
  type PruneModelResult,
  type PruneProgress,
  pruneModel,
} from './run/pruneModel.ts'
export type {
  Block,
  BlockId,
  BlockKind,
  Engine,
  ModelConfig,
  Objective,
  PruningPlan,
  PruningStep,
  RowObjective,
  RowOptions,
  Score,
  StackName,
  StopSignal,
  StoredType,
  TensorInfo,
  TokenLossOptions,
  TokenRows,
  WeightStore,
  WeightTable,
} from './types.ts'
