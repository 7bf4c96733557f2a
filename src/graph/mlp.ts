import type { MlpForm } from '../model/mathematics.ts'
import { gateBlock, norm, project } from './composites.ts'
import { type BranchPart, buildGraph, type Gate, type Graph } from './graph.ts'

/**
 * y = x + down(act(gate(h)) · up(h)), or down(act(up(h))) without a gate; h = norm(x): x (B,T,D) → y (B,T,D), through F
 * channels. A parallel branch takes h from the layer's input instead. `gate`: y = x + gate · down(…), or each channel times its own.
 */
export function mlpGraph(form: MlpForm, part: BranchPart = 'whole', gate?: Gate): Graph {
  const g = buildGraph('mlp')
  const { inputFirst } = form
  const x = g.state('hidden', ['B', 'T', 'D'])
  const input = form.parallel ? g.state('layerInput', ['B', 'T', 'D']) : x
  const h = form.norm ? norm(g, form.norm, input, 'norm') : input
  const bias = (role: string) => (form.biases ? role : undefined)
  const widen = (weight: string, biasRole: string) =>
    project(g, h, { weight, bias: bias(biasRole), output: 'F', input: 'D', inputFirst }) // (B,T,F)
  const activated = g.apply(
    form.activation,
    [form.gated ? widen('gateProj', 'gateBias') : widen('upProj', 'upBias')],
    {},
  )
  let channels = form.gated ? g.apply('mul', [activated, widen('upProj', 'upBias')], {}) : activated
  if (gate === 'unit') {
    const gates = g.apply('reshape', [g.gate('unit', ['B', 'F'])], { shape: [0, 1, -1] })
    channels = g.apply('mul', [channels, gates], {})
  }
  if (part === 'channels') return g.finish([channels])
  const downBias = form.outputBias ? 'downBias' : bias('downBias')
  const down = { weight: 'downProj', bias: downBias, output: 'D', input: 'F', inputFirst }
  const y = project(g, channels, down)
  const added = gateBlock(g, gate, form.postNorm ? norm(g, form.postNorm, y, 'postNorm') : y)
  const sum = g.apply('add', [x, added], {})
  return g.finish([form.outputNorm ? norm(g, form.outputNorm, sum, 'outputNorm') : sum])
}
