/** The public names of the package. */

export type { PackedRows, RowsDescription } from './data/calibration.ts'
export type { LossOn } from './data/conversationRows.ts'
export type { DeviceChoice, DeviceName } from './deviceNames.ts'
export { type ChosenDevice, chooseDevice } from './engine/chooseDevice.ts'
export { type EngineOptions, openEngine } from './engine/threadEngine.ts'
export {
  CalibrationError,
  CheckpointError,
  EngineError,
  OutputError,
  PlanError,
  ToolkitError,
  UnsupportedModelError,
} from './errors.ts'
export type { Comparison, HiddenStateReport, LossReport, PredictionTask } from './evaluate/compare.ts'
export type { EmbeddingReport } from './evaluate/embeddings.ts'
export { measurePerplexity, type PerplexityReport } from './evaluate/perplexity.ts'
export type { PoolingMode, SentencePooling } from './evaluate/sentencePooling.ts'
export { exportGguf, type GgufExport, type GgufExportOptions } from './export/gguf.ts'
export { exportHuggingFace, type HuggingFaceExport, type HuggingFaceExportOptions } from './export/huggingface.ts'
export type { ExportForm, Layout } from './export/layout.ts'
export { mergekitYaml } from './export/mergekit.ts'
export type { MeasuredLoss } from './export/modelCard.ts'
export { exportNemotron, type NemotronExportOptions } from './export/nemotron.ts'
export { exportOnnx, type OnnxExport, type OnnxExportOptions } from './export/onnx.ts'
export type { OnnxAttention, OnnxDtype } from './export/onnxProducts.ts'
export { type Pushed, type PushOptions, type PushProgress, pushExport } from './export/push.ts'
export type { ChannelStatistics, ChannelStatisticsOptions } from './measures/channelStatistics.ts'
export type { OutputDistance } from './measures/distanceRecipes.ts'
export type { HiddenDistanceOptions } from './measures/hiddenDistance.ts'
export { type Engine, type Following, type Measurement, measureOn, type RowsId } from './measures/measurement.ts'
export type { OutputDistanceOptions } from './measures/outputDistance.ts'
export type { PassSecondsOptions } from './measures/passSeconds.ts'
export type { MeasureName, Measures } from './measures/registry.ts'
export type { SimilarityOptions, Span, SpanMeasure } from './measures/similarity.ts'
export type { TokenLossOptions } from './measures/tokenLoss.ts'
export { type AngularOptions, angular } from './methods/angular.ts'
export { blockPruner } from './methods/blockPruner.ts'
export { dropTail } from './methods/dropTail.ts'
export { type FinerCutOptions, finerCut } from './methods/finerCut.ts'
export { type FlapOptions, flap } from './methods/flap.ts'
export { greedy } from './methods/greedy.ts'
export { llmDrop } from './methods/llmDrop.ts'
export { type MagnitudeOptions, magnitude } from './methods/magnitude.ts'
export type { Granularity } from './methods/maskUnits.ts'
export type { Scale } from './methods/method.ts'
export {
  defineMethod,
  type LoopOptions,
  type Method,
  type MethodContext,
  type Scope,
  type Steps,
} from './methods/method.ts'
export type {
  GivenOptions,
  MethodOption,
  MethodOptions,
  OptionSchema,
  OptionsOf,
  OptionValue,
} from './methods/options.ts'
export { type Estimator, type PolicyGradientOptions, policyGradient } from './methods/policyGradient.ts'
export { type RandomRemovalOptions, randomRemoval } from './methods/randomRemoval.ts'
export {
  type MethodName,
  methodOf,
  methods,
  type OptionsByMethod,
  type SearchName,
  searches,
  searchOf,
} from './methods/registry.ts'
export { type ShortenedLlamaOptions, shortenedLlama } from './methods/shortenedLlama.ts'
export { type ShortGptOptions, shortGpt } from './methods/shortGpt.ts'
export { sleb } from './methods/sleb.ts'
export type { Unit } from './methods/units.ts'
export { applyPlan } from './model/applyPlan.ts'
export { type LoadOptions, loadModel } from './model/load.ts'
export type { DescribedBlock, Model } from './model/model.ts'
export { emptyPlan, remainingBlocks, removedParameters, withoutBlock } from './model/plan.ts'
export { type Task, type TaskLoss, taskLosses } from './model/task.ts'
export { hiddenDistanceObjective } from './objectives/hiddenDistance.ts'
export { distanceObjective } from './objectives/outputDistance.ts'
export { type PerplexityOptions, perplexityObjective } from './objectives/perplexity.ts'
export type { CurvePoint } from './report/comparison.ts'
export { type ComparedRow, compareAt, type RunComparison, type Series } from './report/comparison.ts'
export { curvesSvg } from './report/curvesSvg.ts'
export { type ApplyRequest, applyPlanFile } from './run/applyPlanFile.ts'
export type { Budget, RatioRule } from './run/budget.ts'
export { type RowsRequest, readRows } from './run/calibrate.ts'
export { type CompareRequest, compareRuns } from './run/compareRuns.ts'
export type { CurveFile, CurveFilePoint } from './run/curveFile.ts'
export { type CurveRequest, type CurveResult, evaluateCurve } from './run/evaluateCurve.ts'
export { type EvaluateRequest, type EvaluateResult, evaluateModel } from './run/evaluateModel.ts'
export type { CheckedExport } from './run/exportAndCheck.ts'
export type { ExportedFormats, OtherExport } from './run/exportFormats.ts'
export type { ExportedFile } from './run/fileSizes.ts'
export type { CheckedStep } from './run/guard.ts'
export type { Format, OtherFormat } from './run/otherFormats.ts'
export type { OutputNorms } from './run/outputNorms.ts'
export type { Latency } from './run/planFile.ts'
export { type PlanFile, type PlanStep, readPlanFile } from './run/planFile.ts'
export { pruneModel } from './run/pruneModel.ts'
export type { Evaluated, PruneModelRequest, PruneModelResult, PruneProgress } from './run/pruneRequest.ts'
export type { Sample, Samples } from './run/samples.ts'
export type { ObjectiveName, PlanLayout, SearchRequest } from './run/searchRequest.ts'
export { type VerifyRequest, verifyModel } from './run/verifyModel.ts'
export { type BeamOptions, beam } from './search/beam.ts'
export { adjacentBlocks, type Candidates, type Moves, singleBlocks, wholeLayers } from './search/candidates.ts'
export { type EvolveOptions, evolve } from './search/evolve.ts'
export { type FastOptions, fast } from './search/fast.ts'
export { type StockOptions, stock } from './search/stock.ts'
export { type SwapOptions, swap } from './search/swap.ts'
export type {
  Block,
  BlockId,
  BlockKind,
  LossArithmetic,
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
  TokenRows,
  WeightStore,
  WeightTable,
} from './types.ts'
export type { Agreement, AgreementLimit } from './verify/agreement.ts'
export type { StoredPrecision } from './verify/limits.ts'
export type { VerifyOptions } from './verify/verifyExport.ts'
export { type ConsumerResult, verifyExport } from './verify/verifyExport.ts'
