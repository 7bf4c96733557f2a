/** Errors a caller can act on. Each message has subject, found, expected and cure. */
export abstract class ToolkitError extends Error {
  abstract readonly code: string
  override get name(): string {
    return this.constructor.name
  }
}

/** The model family, or a value of its config, is not supported. */
export class UnsupportedModelError extends ToolkitError {
  readonly code = 'UNSUPPORTED_MODEL'
}

/** A file is damaged, missing or not what its neighbours say. */
export class CheckpointError extends ToolkitError {
  readonly code = 'CHECKPOINT'
}

/** A plan does not fit the model or the request. */
export class PlanError extends ToolkitError {
  readonly code = 'PLAN'
}

/** The calibration or evaluation text does not serve. */
export class CalibrationError extends ToolkitError {
  readonly code = 'CALIBRATION'
}

/** The runtime failed or produced numbers that are none. */
export class EngineError extends ToolkitError {
  readonly code = 'ENGINE'
}

/** A run directory or an export could not be written or resumed. */
export class OutputError extends ToolkitError {
  readonly code = 'OUTPUT'
}
