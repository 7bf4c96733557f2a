import { UnsupportedModelError } from '../errors.ts'
import type { ModelConfig, WeightTable } from '../types.ts'
import type { HasTensor } from './architecture.ts'
import { countOf, objectOf } from './configValue.ts'
import type { HeadForm } from './mathematics.ts'
import { projection } from './weightTable.ts'

/**
 * Weights of a classifier: of each row, from its first position through one more layer, or of each token. None where the
 * checkpoint stores neither.
 */
export function classifierWeights(has: HasTensor, names: { dense: string; output: string }): WeightTable {
  const rowClasses = has(`${names.dense}.weight`) && has(`${names.output}.weight`)
  const output = rowClasses ? names.output : has('classifier.weight') ? 'classifier' : undefined
  if (output === undefined) return {}
  return {
    ...(rowClasses && projection('head', names.dense, 'D', 'D', { bias: true })),
    classifier: [`${output}.weight`, 'C D'],
    classifierBias: [`${output}.bias`, 'C'],
  }
}

/** Weights that no head of ours reads but an export carries along: a pooler, next-sentence and question-answering outputs. */
export function extraHeads(has: HasTensor, pooler?: string): WeightTable {
  const pair = (role: string, name: string, axes: string, biasAxes: string): WeightTable =>
    has(`${name}.weight`)
      ? { [`${role}Proj`]: [`${name}.weight`, axes], [`${role}Bias`]: [`${name}.bias`, biasAxes] }
      : {}
  return {
    ...(pooler !== undefined && !has('classifier.weight') && pair('pooler', pooler, 'D D', 'D')),
    ...pair('nextSentence', 'cls.seq_relationship', 'S D', 'S'),
    ...pair('answer', 'qa_outputs', 'S D', 'S'),
  }
}

/** Sizes of the letters in the tables above: classes C, and 2, S. */
export function classOutputs(config: ModelConfig): { readonly C: number; readonly S: number } {
  const labels = Object.keys(objectOf(config, 'id2label') ?? {}).length
  return { C: countOf(config, 'num_labels', labels || 2), S: 2 }
}

/** The head that the roles in `outer` make: a classifier, a masked-LM head, or none. */
export function headOfRoles(
  config: ModelConfig,
  outer: WeightTable,
  transforms: { readonly masked: HeadForm['transform']; readonly row: HeadForm['transform'] },
): HeadForm | undefined {
  if ('classifier' in outer) {
    const type = config['problem_type'] ?? 'single_label_classification'
    if (type !== 'single_label_classification') {
      throw new UnsupportedModelError(
        `config.json: "problem_type" is ${JSON.stringify(type)}, which is not supported; known: single_label_classification`,
      )
    }
    const readsRow = 'headProj' in outer
    return {
      weight: 'classifier',
      bias: true,
      ...(readsRow && { transform: transforms.row!, readsFirst: true }),
    }
  }
  if (!('lmHeadBias' in outer)) return undefined
  return { weight: 'lmHead' in outer ? 'lmHead' : 'embedTokens', bias: true, transform: transforms.masked! }
}
