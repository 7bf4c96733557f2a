import { UnsupportedModelError } from '../errors.ts'
import type { Head, Program, Stage } from '../graph/program.ts'
import { programOf } from '../graph/program.ts'
import type { Model } from '../model/model.ts'
import { cachedAttentions, KeyValueCaches } from './onnxCaches.ts'
import { ModelInputs, type Side } from './onnxModelInputs.ts'
import type { OnnxAttention, OnnxDtype } from './onnxProducts.ts'
import { headStage, StageWriter } from './onnxStageWriter.ts'
import { type OnnxGraph, OnnxWriter } from './onnxWriter.ts'

/** A graph and the name that transformers.js has for its file. */
export interface ComposedOnnx extends OnnxGraph {
  readonly file: 'model' | 'encoder_model' | 'decoder_model_merged'
}

/**
 * `model`, plans already applied, as transformers.js calls it: the stages of the engine's own program one after the other,
 * weights as constants.
 *
 * | family          | graph                  | reads                                                    | gives                        |
 * |-----------------|------------------------|----------------------------------------------------------|------------------------------|
 * | decoder         | `model`                | `input_ids` (B,T), `attention_mask` (B,P+T), the cache   | `logits` (B,L,V), the cache  |
 * | encoder         | `model`                | `input_ids`, `attention_mask`, `token_type_ids` (B,T)    | `logits` (B,T,V) or (B,C), or `last_hidden_state` (B,T,D) |
 * | encoder-decoder | `encoder_model`        | `input_ids`, `attention_mask` (B,S)                      | `last_hidden_state` (B,S,D)  |
 * |                 | `decoder_model_merged` | `input_ids` (B,T), `encoder_hidden_states`, `encoder_attention_mask`, the cache | `logits` (B,L,V), the cache |
 *
 * Inputs that nothing needs are left out. `num_logits_to_keep` () of decoders says L: the last so many positions, 0 for all.
 * One decoder serves with and without a cache: `use_cache_branch` is not asked for, and transformers.js does not give it then.
 * Decoders with GroupQueryAttention take rows that are padded on the right, if at all; those from standard operators, which
 * `plain` asks for and ALiBi and odd heads always have, on either side.
 *
 * - fp16: products with weights, GroupQueryAttention and caches in half precision; the residual stream, norms, other attention
 *   and logits in float32.
 * - q8: matrices of 8 bits in blocks of 32 (MatMulNBits), their inputs quantised in blocks as they come; embedding of 8
 *   bits. DynamicQuantizeMatMul, which other exporters write here, has one scale for a whole input: with the few large
 *   channels of SmolLM2-135M it moves the predictions by 0.4 nats, blocks by 0.006.
 * - q4: the same with 4 bits, but for the head, which has 8.
 *
 * Throws `UnsupportedModelError` for a head that has no such form.
 */
export function composeOnnx(model: Model, dtype: OnnxDtype, attention: OnnxAttention = 'fused'): ComposedOnnx[] {
  if ('answerProj' in model.outer) {
    throw new UnsupportedModelError(
      `${model.id}: answers questions by spans (qa_outputs), which the ONNX export does not write, expected a masked-LM head, a classifier or no head; export to huggingface`,
    )
  }
  const program = programOf(model, attention === 'fused' ? 'cached' : 'cachedPrimitives')
  const composers = { decoder: composeDecoder, encoder: composeEncoder, encoderDecoder: composeEncoderDecoder }
  return composers[model.architecture.family](model, program, dtype)
}

function composeDecoder(model: Model, program: Program, dtype: OnnxDtype): ComposedOnnx[] {
  const { stages } = startDecoder(model, dtype, () => ({ reads: 'past' }))
  stages.run(program.stages)
  return [{ file: 'model', ...finishLogits(stages, model, program) }]
}

function composeEncoder(model: Model, program: Program, dtype: OnnxDtype): ComposedOnnx[] {
  const stages = startRow(model, dtype)
  stages.run(program.stages)
  const head = program.heads?.logits
  if (head === undefined) return [{ file: 'model', ...finishStates(stages, model, 'hidden') }]
  if (head.readsFirst) stages.setState('hidden', firstPosition(stages))
  const logits = stages.place(headOf(head), head.graph)
  const { C, V } = model.sizes as { C: number; V: number }
  const isClassifier = 'classifier' in model.outer
  const dims = ['batch_size', ...(head.readsFirst ? [] : ['sequence_length']), isClassifier ? C : V]
  return [{ file: 'model', ...finish(stages, logits, 'logits', dims) }]
}

function composeEncoderDecoder(model: Model, program: Program, dtype: OnnxDtype): ComposedOnnx[] {
  const encoder = startRow(model, dtype)
  encoder.run(program.stages.filter(({ ids }) => ids === 'ids'))
  const { stages: decoder, caches } = startDecoder(model, dtype, (caches) => ({ reads: 'memory', caches }))
  const readsMemory = cachedAttentions(model, 'crossAttention').length > 0
  if (readsMemory) decoder.setState('memory', unseenMemory(decoder, caches, model))
  decoder.run(program.stages.filter(({ ids }) => ids === 'decoderIds'))
  return [
    { file: 'encoder_model', ...finishStates(encoder, model, 'memory') },
    { file: 'decoder_model_merged', ...finishLogits(decoder, model, program) },
  ]
}

function startRow(model: Model, dtype: OnnxDtype): StageWriter {
  const writer = new OnnxWriter()
  const modelInputs = new ModelInputs(writer, model, { reads: 'row' }, 'float32')
  return new StageWriter(writer, model, dtype, modelInputs, undefined)
}

function startDecoder(model: Model, dtype: OnnxDtype, sideOf: (caches: KeyValueCaches) => Side) {
  const precision = dtype === 'fp16' ? 'float16' : 'float32'
  const writer = new OnnxWriter()
  const caches = new KeyValueCaches(writer, model, precision)
  const modelInputs = new ModelInputs(writer, model, sideOf(caches), precision)
  return { caches, stages: new StageWriter(writer, model, dtype, modelInputs, caches) }
}

/** What of the encoder's output (B,S,D) has no keys and values in the cache yet: everything in the first call, later nothing. */
function unseenMemory({ writer }: StageWriter, caches: KeyValueCaches, { sizes }: Model): string {
  const dims = ['batch_size', 'encoder_sequence_length', sizes['D']!]
  const memory = writer.input({ name: 'encoder_hidden_states', type: 'float32', dims })
  const seen = caches.pastLength('crossAttention')
  const unseen = writer.node('Slice', [memory, seen, int64Max(writer), writer.int64('axes_1', [1])], 'unseen_memory')
  writer.setPrecision(unseen, 'float32')
  return unseen
}

const headOf = ({ weights, graph }: Head): Stage => ({
  name: headStage,
  ids: 'ids',
  reads: {},
  writes: 'logits',
  weights,
  graph: () => graph,
})

function finishLogits(stages: StageWriter, { id, sizes }: Model, { heads }: Program): OnnxGraph {
  if (heads === undefined) throw new RangeError(`${id}: a decoder without a head`)
  stages.setState('hidden', lastPositions(stages))
  const logits = stages.place(headOf(heads.logits), heads.logits.graph)
  return finish(stages, logits, 'logits', ['batch_size', 'num_logits', sizes['V']!])
}

function finishStates(stages: StageWriter, { sizes }: Model, state: string): OnnxGraph {
  return finish(stages, stages.state(state), 'last_hidden_state', ['batch_size', 'sequence_length', sizes['D']!])
}

function finish({ writer }: StageWriter, value: string, name: string, dims: readonly (string | number)[]): OnnxGraph {
  writer.node('Identity', [writer.as(value, 'float32')], name)
  writer.output({ name, type: 'float32', dims })
  return writer.finish()
}

/** Cuts `hidden` (B,T,D) to its last `num_logits_to_keep` positions: the head is the widest product of a model. */
function lastPositions(stages: StageWriter): string {
  const { writer } = stages
  const count = writer.input({ name: 'num_logits_to_keep', type: 'int64', dims: [] })
  const from = writer.node('Neg', [writer.node('Reshape', [count, writer.int64('shape_1', [1])], 'keep')], 'keep_from')
  const hidden = writer.as(stages.state('hidden'), 'float32')
  const kept = writer.node('Slice', [hidden, from, int64Max(writer), writer.int64('axes_1', [1])], 'kept_hidden')
  writer.setPrecision(kept, 'float32')
  return kept
}

/** `hidden` (B,T,D) → (B,D), of which a row's class is read. */
function firstPosition(stages: StageWriter): string {
  const { writer } = stages
  const hidden = writer.as(stages.state('hidden'), 'float32')
  const first = writer.node('Gather', [hidden, writer.int64('zero', [0], [])], 'first_hidden', { axis: { int: 1 } })
  writer.setPrecision(first, 'float32')
  return first
}

const int64Max = (writer: OnnxWriter): string => writer.int64('int64_max', [2n ** 63n - 1n])
