import { PlanError } from '../errors.ts'
import type { OutputDistance } from '../measures/distanceRecipes.ts'
import { layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import { suggestionFor } from '../nearestName.ts'
import type { BlockId, BlockKind } from '../types.ts'
import { angular } from './angular.ts'
import { blockPruner } from './blockPruner.ts'
import { dropTail, tailLayers } from './dropTail.ts'
import { finerCut } from './finerCut.ts'
import { flap } from './flap.ts'
import { llmDrop } from './llmDrop.ts'
import { magnitude } from './magnitude.ts'
import type { Granularity } from './maskUnits.ts'
import type { Method, MethodOption, MethodOptions, OptionValue } from './method.ts'
import { type Estimator, policyGradient } from './policyGradient.ts'
import { randomRemoval } from './randomRemoval.ts'
import { removableLayers, shortenedLlama } from './shortenedLlama.ts'
import { shortGpt } from './shortGpt.ts'
import { innerLayers, sleb } from './sleb.ts'
import { checkWholeLayers, type Unit, unitsOf } from './units.ts'

const unit = (byDefault: Unit): MethodOption => ({
  type: 'choice',
  choices: ['block', 'layer'],
  default: byDefault,
  says: 'what goes at once',
})

/** The distances that can be told from the probabilities of a few words. */
const divergences: readonly OutputDistance[] = ['js', 'kl', 'js_reversed', 'official_kl']

const wholeOption = (value: OptionValue | undefined) => (value === undefined ? undefined : Math.floor(value as number))

/** Single blocks of the kinds asked for. */
const blocks = (model: Model, kinds: readonly BlockKind[]) => unitsOf(model, 'block', kinds).flat()

/** Blocks, or whole layers where the option `unit` says so. */
const byUnit =
  (name: string) =>
  (model: Model, kinds: readonly BlockKind[], options: MethodOptions): BlockId[] => {
    if (options['unit'] === 'layer') checkWholeLayers(`${name} --unit layer`, kinds)
    return unitsOf(model, options['unit'] as Unit, kinds).flat()
  }

const granularitiesOf = (options: MethodOptions) => (options['units'] as string).split('+') as Granularity[]

/** Whatever holds units of the granularities that masks have: which of them may go is not a question of kinds of blocks. */
const inside =
  (name: string, masks: NonNullable<Method['masks']>) =>
  (model: Model, kinds: readonly BlockKind[], options: MethodOptions): BlockId[] => {
    if (!kinds.includes('attention') || !kinds.includes('mlp')) {
      throw new PlanError(
        `--kinds ${kinds.join(',')}: ${name} removes units inside blocks of both kinds; leave --kinds out, ` +
          'and choose by --units where the method has it',
      )
    }
    const granularities = masks(options)
    const areWhole = granularities.includes('blocks') || granularities.includes('layers')
    const holds = (kind: BlockKind) => areWhole || granularities.includes(kind === 'mlp' ? 'channels' : 'heads')
    return model.blocks.filter(({ kind }) => holds(kind)).map(({ id }) => id)
  }

/** Every method by name, in the order in which they are listed. */
export const methods: readonly Method[] = [
  {
    name: 'blockpruner',
    title: 'BlockPruner',
    paper: 'arXiv:2406.10594',
    unit: 'block',
    cost: 'n passes a step, greedy',
    options: {},
    removable: blocks,
    run: ({ model, objective, kinds, signal }) => blockPruner(model, objective, { kinds, signal }),
  },
  {
    name: 'finercut',
    title: 'FinerCut',
    paper: 'arXiv:2405.18218',
    unit: 'block',
    cost: 'n passes and 2 heads each a step (1 with --top-k), greedy; keeps rows x tokens x D x 4 bytes (k x 12)',
    options: {
      distance: {
        type: 'choice',
        choices: [
          'js',
          'kl',
          'angular',
          'euclidean',
          'js_reversed',
          'official_kl',
          'official_angular',
          'official_norm',
        ],
        default: 'js',
        says: "distance of the predictions from the dense model's; js_reversed and official_* as the released code has them",
      },
      order: {
        type: 'choice',
        choices: ['forward', 'names'],
        default: 'forward',
        says: 'which of equal candidates wins; names: sorted as text, as in the released code',
      },
      'top-k': {
        type: 'number',
        from: 1,
        to: 1e6,
        says: `tell only the k likeliest words of the dense model apart, for ${divergences.join(', ')}: faster, and never more than the distance`,
      },
      freeze: {
        type: 'number',
        from: 0,
        to: 1,
        says: 'x: the first n·x/2 layers stay until n·x of the n blocks are gone (0.4 in the released example)',
      },
    },
    check(options) {
      const distance = options['distance'] as OutputDistance
      if (options['top-k'] === undefined || divergences.includes(distance)) return
      throw new PlanError(
        `--top-k ${options['top-k']}: --distance ${distance} needs all logits, expected one of ${divergences.join(', ')}; leave one of them out`,
      )
    },
    keeps: ({ sizes }, { rows, rowLength, decoder }, options) =>
      rows *
      (decoder?.rowLength ?? rowLength) *
      (options['top-k'] === undefined ? sizes['D']! * 4 : Math.floor(options['top-k'] as number) * 12),
    removable: blocks,
    run: ({ model, objective, distance, kinds, signal }, options) =>
      finerCut(
        model,
        objective,
        distance(options['distance'] as OutputDistance, { topK: wholeOption(options['top-k']) }),
        {
          kinds,
          order: options['order'] as 'forward' | 'names',
          freeze: options['freeze'] as number | undefined,
          signal,
        },
      ),
  },
  {
    name: 'shortened-llama',
    title: 'Shortened LLaMA',
    paper: 'arXiv:2402.02834',
    unit: 'layer',
    cost: 'l passes, one shot (magnitude: none)',
    options: {
      criterion: {
        type: 'choice',
        choices: ['ppl', 'magnitude'],
        default: 'ppl',
        says: 'what a layer is scored by: perplexity without it, or its weights',
      },
      plus: { type: 'flag', default: true, says: 'never remove layers 0 to 3 and the last two' },
    },
    removable(model, kinds, options) {
      checkWholeLayers('shortened-llama', kinds)
      return removableLayers(model, options['plus'] === true).flat()
    },
    run: ({ model, objective, pooled, signal }, options) =>
      shortenedLlama(model, objective, pooled, {
        criterion: options['criterion'] as 'ppl' | 'magnitude',
        plus: options['plus'] === true,
        signal,
      }),
  },
  {
    name: 'sleb',
    title: 'SLEB',
    paper: 'arXiv:2402.09025',
    unit: 'layer',
    cost: 'l passes a step, greedy',
    options: {},
    removable(model, kinds) {
      checkWholeLayers('sleb', kinds)
      return innerLayers(layersOf(model)).flatMap((layer) => layer.blocks.map(({ id }) => id))
    },
    run: ({ model, objective, signal }) => sleb(model, objective, { signal }),
  },
  {
    name: 'shortgpt',
    title: 'ShortGPT',
    paper: 'arXiv:2403.03853',
    unit: 'layer or block',
    cost: '1 pass, one shot',
    options: { unit: unit('layer') },
    removable: byUnit('shortgpt'),
    run: ({ model, objective, engine, rows, kinds, signal }, options) =>
      shortGpt(model, objective, engine, rows, { unit: options['unit'] as Unit, kinds, signal }),
  },
  {
    name: 'llm-drop',
    title: 'LLM-Drop',
    paper: 'arXiv:2406.15786',
    unit: 'block',
    cost: '1 pass, one shot',
    options: {},
    removable: blocks,
    run: ({ model, objective, engine, rows, kinds, signal }) =>
      llmDrop(model, objective, engine, rows, { kinds, signal }),
  },
  {
    name: 'angular',
    title: 'Contiguous layers by angular distance',
    paper: 'arXiv:2403.17887',
    unit: 'run of layers',
    cost: '1 pass, one shot',
    options: {},
    removable(model, kinds) {
      checkWholeLayers('angular', kinds)
      return unitsOf(model, 'layer', kinds).flat()
    },
    run: ({ model, objective, engine, rows, reached, signal }) =>
      angular(model, objective, engine, rows, { reached, signal }),
  },
  {
    name: 'policy-gradient',
    title: 'Policy gradient over masks',
    paper: 'arXiv:2406.10576',
    unit: 'channel, head group, block, layer',
    cost: 'samples x steps passes over batches',
    options: {
      units: {
        type: 'choice',
        choices: [
          'channels+heads',
          'channels',
          'heads',
          'blocks',
          'layers',
          'channels+heads+blocks',
          'channels+heads+layers',
        ],
        default: 'channels+heads',
        says: 'what masks keep or remove; heads are key/value groups with their query heads',
      },
      budgets: {
        type: 'choice',
        choices: ['separate', 'one'],
        default: 'separate',
        says: 'the same share of each kind of unit, or one budget of parameters over all',
      },
      init: {
        type: 'choice',
        choices: ['wanda', 'constant'],
        default: 'wanda',
        says: "probabilities at first: from Wanda-sp's metric, or all equal",
      },
      estimator: {
        type: 'choice',
        choices: ['released', 'plain'],
        default: 'released',
        says: 'score function divided by the deviation, as the released code does, or by the variance',
      },
      steps: { type: 'number', from: 1, to: 1e6, default: 500, says: 'updates' },
      samples: { type: 'number', from: 2, to: 1000, default: 2, says: 'masks an update' },
      'learning-rate': { type: 'number', from: 0, to: 10, default: 0.01, says: 'at the first update' },
      'batch-rows': { type: 'number', from: 1, to: 1e6, default: 4, says: 'rows an update' },
      window: { type: 'number', from: 1, to: 1e6, default: 5, says: 'updates that the baseline looks back' },
      interval: { type: 'number', from: 1, to: 1e6, default: 50, says: 'updates between two recorded steps' },
    },
    masks: granularitiesOf,
    removable: inside('policy-gradient', granularitiesOf),
    endsItself: true,
    run({ model, objective, engine, rows, reached, seed, signal }, options) {
      const number = (name: string) => Math.floor(options[name] as number)
      return policyGradient(model, objective, engine, rows, {
        granularities: granularitiesOf(options),
        budgets: options['budgets'] as 'separate' | 'one',
        start: options['init'] as 'wanda' | 'constant',
        estimator: options['estimator'] as Estimator,
        steps: number('steps'),
        samples: number('samples'),
        learningRate: options['learning-rate'] as number,
        batchRows: number('batch-rows'),
        window: options['window'] as number,
        interval: number('interval'),
        reached,
        seed,
        signal,
      })
    },
  },
  {
    name: 'flap',
    title: 'FLAP',
    paper: 'arXiv:2312.11983',
    unit: 'channel, head group',
    cost: '1 pass, one shot',
    options: {
      bias: {
        type: 'flag',
        default: true,
        says: 'add what the removed units gave on average to the output of their block',
      },
    },
    masks: () => ['channels', 'heads'],
    removable: inside('flap', () => ['channels', 'heads']),
    endsItself: true,
    run: ({ model, objective, engine, rows, reached, signal }, options) =>
      flap(model, objective, engine, rows, { bias: options['bias'] === true, reached, signal }),
  },
  {
    name: 'drop-tail',
    title: 'Drop the last layers',
    paper: 'arXiv:2411.15558',
    unit: 'layer',
    cost: 'none',
    options: {
      'keep-last': { type: 'number', from: 0, to: 1000, default: 0, says: 'last layers that stay' },
    },
    removable(model, kinds, options) {
      checkWholeLayers('drop-tail', kinds)
      return tailLayers(model, options['keep-last'] as number).flat()
    },
    run: ({ model, objective, signal }, options) =>
      dropTail(model, objective, { keepLast: options['keep-last'] as number, signal }),
  },
  {
    name: 'magnitude',
    title: 'Magnitude',
    unit: 'block or layer',
    cost: 'none',
    options: {
      unit: unit('block'),
      reduction: {
        type: 'choice',
        choices: ['mean', 'sum'],
        default: 'mean',
        says: 'of the absolute weights of a block or layer',
      },
    },
    removable: byUnit('magnitude'),
    run: ({ model, objective, kinds, signal }, options) =>
      magnitude(model, objective, {
        unit: options['unit'] as Unit,
        kinds,
        reduction: options['reduction'] as 'mean' | 'sum',
        signal,
      }),
  },
  {
    name: 'random',
    title: 'Random removal',
    unit: 'block or layer',
    cost: 'none',
    options: { unit: unit('block') },
    removable: byUnit('random'),
    run: ({ model, objective, kinds, seed, signal }, options) =>
      randomRemoval(model, objective, { unit: options['unit'] as Unit, kinds, seed, signal }),
  },
]

/** The method called `name`. Throws `PlanError` with the nearest name for an unknown one. */
export function methodOf(name: string): Method {
  const found = methods.find((method) => method.name === name)
  if (found !== undefined) return found
  const names = methods.map((method) => method.name)
  throw new PlanError(
    `--method ${name}: is not a method, expected one of ${names.join(', ')}${suggestionFor(name, names)}`,
  )
}

/**
 * The options of `method` with its defaults where nothing is given. Throws `PlanError` for an option that it does not have and
 * for a value that the option does not take.
 */
export function optionsOf(method: Method, given: MethodOptions = {}): MethodOptions {
  for (const [name, value] of Object.entries(given)) {
    const option = Object.hasOwn(method.options, name) ? method.options[name] : undefined
    if (option === undefined) throw foreignOption(method, name)
    checkValue(name, option, value)
  }
  const defaults = Object.entries(method.options).flatMap(([name, option]) =>
    option.default === undefined ? [] : [[name, option.default] as const],
  )
  const options = { ...Object.fromEntries(defaults), ...given }
  method.check?.(options)
  return options
}

function foreignOption(method: Method, name: string): PlanError {
  const own = Object.entries(method.options)
  const owners = methods.filter(({ options }) => Object.hasOwn(options, name)).map((other) => other.name)
  const has =
    own.length === 0
      ? 'has no options of its own'
      : `has ${own.map(([option, what]) => flagName(option, what)).join(', ')}`
  const whose = owners.length === 0 ? '' : `; it is an option of ${owners.join(', ')}`
  const option = methods.map(({ options }) => options[name]).find((found) => found !== undefined)
  return new PlanError(`${flagName(name, option)}: is not an option of ${method.name}, which ${has}${whose}`)
}

/** The option as it is typed: a switch that is on is switched off. */
function flagName(name: string, option: MethodOption | undefined): string {
  return option?.type === 'flag' && option.default ? `--no-${name}` : `--${name}`
}

function checkValue(name: string, option: MethodOption, value: OptionValue): void {
  if (option.type === 'choice') {
    if (typeof value === 'string' && option.choices.includes(value)) return
    const advice = suggestionFor(String(value), option.choices)
    throw new PlanError(`--${name} ${value}: expected one of ${option.choices.join(', ')}${advice}`)
  }
  if (option.type === 'number') {
    if (typeof value === 'number' && value >= option.from && value <= option.to) return
    throw new PlanError(`--${name} ${value}: expected a number from ${option.from} to ${option.to}`)
  }
  if (typeof value !== 'boolean') throw new PlanError(`--${name} ${value}: expected true or false`)
}
