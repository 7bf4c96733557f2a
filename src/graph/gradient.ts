import {
  type Differentiable,
  type GradientRule,
  type GradientRules,
  gradientRules,
  withoutGradient,
} from './gradientRules.ts'
import { buildGraph, type Graph } from './graph.ts'
import type { Node, Value } from './operations.ts'

export interface GradientOptions {
  /** Values of the graph to give as well, behind the gradients: what the pass computes anyway. */
  readonly alsoGive?: readonly Value[]
  readonly rules?: GradientRules
}

/**
 * The graph of Σ `outputs` · their gradients, differentiated with respect to the inputs named `withRespectTo`: it reads what `graph`
 * reads and, for each output y, its gradient under the source `gradient` of y. Its outputs are the gradients in the order asked
 * for, shaped as the inputs; of a table that rows are read from, those of the rows with `rows`, their numbers, to be added up by who
 * keeps the table. Nothing is computed that these don't need.
 *
 * Throws a `RangeError` for an input that the outputs don't depend on, or that they depend on through an operation without a gradient.
 */
export function gradient(
  graph: Graph,
  outputs: readonly Value[],
  withRespectTo: readonly string[],
  { alsoGive = [], rules = gradientRules }: GradientOptions = {},
): Graph {
  const g = buildGraph(`${graph.name}Gradient`)
  const values = new Map(graph.inputs.map((input) => [input.value.name, g.read(input)]))
  const tables = new Map<string, Value>()
  for (const node of graph.nodes)
    values.set(node.output.name, g.apply(node.op, inputsOf(node, values), node.attributes))
  const depending = dependingOn(graph, withRespectTo)
  const gradients = new Map<string, Value>()
  const addTo = (name: string, more: Value) => {
    const known = gradients.get(name)
    gradients.set(name, known === undefined ? more : g.apply('add', [known, more], {}))
  }
  for (const { name } of outputs) {
    if (depending.has(name)) addTo(name, g.gradientOf(values.get(name)!))
  }
  for (const node of [...graph.nodes].reverse()) {
    const dy = gradients.get(node.output.name)
    if (dy === undefined) continue
    const rule = ruleOf(graph, node, rules)
    const inputs = inputsOf(node, values)
    const ofInputs = rule({ g, inputs, attributes: node.attributes, y: values.get(node.output.name)!, dy } as never)
    for (const [i, { name }] of node.inputs.entries()) {
      if (!depending.has(name) || ofInputs[i] === undefined) continue
      if (node.op === 'embedding') noteTable(graph, tables, gradients, name, inputs[1]!)
      addTo(name, ofInputs[i]())
    }
  }
  const found = withRespectTo.map((name) => {
    const value = gradients.get(name)
    if (value === undefined) throw new RangeError(`${graph.name}: its outputs don't depend on ${name}`)
    const rows = tables.get(name)
    return { value, ...(rows && { rows }) }
  })
  return g.finishWith([...found, ...alsoGive.map(({ name }) => ({ value: values.get(name)! }))])
}

const inputsOf = (node: Node, values: ReadonlyMap<string, Value>) => node.inputs.map(({ name }) => values.get(name)!)

/** The names of all values that change when one of `names` does. */
function dependingOn(graph: Graph, names: readonly string[]): ReadonlySet<string> {
  const known = new Set(names)
  for (const { inputs, output } of graph.nodes) if (inputs.some(({ name }) => known.has(name))) known.add(output.name)
  return known
}

function ruleOf({ name }: Graph, { op }: Node, rules: GradientRules): GradientRule<Differentiable> {
  if (op in withoutGradient) {
    throw new RangeError(`${name}: ${op} has no gradient: ${withoutGradient[op as keyof typeof withoutGradient]}`)
  }
  return rules[op as Differentiable] as GradientRule<Differentiable>
}

/** Rows that are read from a table: their gradients are given, so nothing else may read it. */
function noteTable(
  { name: graph }: Graph,
  tables: Map<string, Value>,
  gradients: ReadonlyMap<string, Value>,
  table: string,
  rows: Value,
): void {
  if (gradients.has(table)) throw new RangeError(`${graph}: ${table} is read twice, expected one look-up of its rows`)
  tables.set(table, rows)
}
