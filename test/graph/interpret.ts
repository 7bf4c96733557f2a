import type { BackwardAttributes } from '../../src/graph/backwardOperations.ts'
import type { Differentiable } from '../../src/graph/gradientRules.ts'
import type { Graph } from '../../src/graph/graph.ts'
import type { Node, OperationAttributes } from '../../src/graph/operations.ts'

/** A tensor in float64, row-major; whole numbers where it holds places. */
export interface Tensor {
  readonly dims: readonly number[]
  readonly data: Float64Array
}

type Interpreted = Differentiable | keyof BackwardAttributes

type Interpreters = {
  readonly [Op in Interpreted]: (inputs: readonly Tensor[], attributes: OperationAttributes[Op]) => Tensor
}

/** What the graph gives for these inputs, by name: straight from what `operations.ts` says of each operation, without any kernel. */
export function interpret(graph: Graph, inputs: Readonly<Record<string, Tensor>>): Readonly<Record<string, Tensor>> {
  const values: Record<string, Tensor> = { ...inputs }
  for (const node of graph.nodes)
    values[node.output.name] = compute(
      node,
      node.inputs.map(({ name }) => values[name]!),
    )
  return values
}

function compute({ op, attributes }: Node, inputs: readonly Tensor[]): Tensor {
  if (!(op in interpreters)) throw new RangeError(`${op} is not interpreted`)
  const run = interpreters[op as Interpreted] as (inputs: readonly Tensor[], attributes: unknown) => Tensor
  return run(inputs, attributes)
}

/** A tensor of these dimensions whose elements are made by place. */
export function tensor(dims: readonly number[], of: (place: number) => number): Tensor {
  return { dims, data: Float64Array.from({ length: countOf(dims) }, (_, place) => of(place)) }
}

const countOf = (dims: readonly number[]) => dims.reduce((product, size) => product * size, 1)

/** The coordinates of an element. */
function coordinates(dims: readonly number[], place: number): number[] {
  const found = dims.map(() => 0)
  for (let axis = dims.length - 1, rest = place; axis >= 0; axis--) {
    found[axis] = rest % dims[axis]!
    rest = Math.floor(rest / dims[axis]!)
  }
  return found
}

/** The element of x at coordinates that may have more axes in front and go beyond axes of 1. */
function at({ dims, data }: Tensor, where: readonly number[]): number {
  const own = where.slice(where.length - dims.length)
  return data[dims.reduce((place, size, axis) => place * size + (size === 1 ? 0 : own[axis]!), 0)]!
}

function fill(dims: readonly number[], of: (where: number[]) => number): Tensor {
  return tensor(dims, (place) => of(coordinates(dims, place)))
}

const map = (x: Tensor, of: (value: number) => number): Tensor => ({ dims: x.dims, data: x.data.map(of) })

function broadcast(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length)
  const of = (dims: readonly number[], axis: number) => dims[dims.length - rank + axis] ?? 1
  return Array.from({ length: rank }, (_, axis) => Math.max(of(a, axis), of(b, axis)))
}

const both = (a: Tensor, b: Tensor, of: (a: number, b: number) => number) =>
  fill(broadcast(a.dims, b.dims), (where) => of(at(a, where), at(b, where)))

/** Each run along the last axis, as a whole. */
function lastAxis(x: Tensor, of: (row: Float64Array) => ArrayLike<number>, size = x.dims.at(-1)!): Tensor {
  const width = x.dims.at(-1)!
  const rows = x.data.length / width
  const data = new Float64Array(rows * size)
  for (let row = 0; row < rows; row++) data.set(of(x.data.subarray(row * width, (row + 1) * width)), row * size)
  return { dims: [...x.dims.slice(0, -1), size], data }
}

const sum = (values: Float64Array) => values.reduce((total, value) => total + value, 0)
const mean = (values: Float64Array) => sum(values) / values.length
const logSumExp = (row: Float64Array) => {
  const largest = Math.max(...row)
  return largest + Math.log(sum(row.map((value) => Math.exp(value - largest))))
}
const withoutLast = ({ dims, data }: Tensor): Tensor => ({ dims: dims.slice(0, -1), data })
const axisOf = ({ dims }: Tensor, axis: number) => (axis < 0 ? axis + dims.length : axis)
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

/** Abramowitz and Stegun 7.1.5 near 0, the continued fraction of 7.1.14 beyond: to 1e-15. */
export function erf(x: number): number {
  const z = Math.abs(x)
  if (z < 2.5) {
    let [term, total] = [z, z]
    for (let n = 1; Math.abs(term) > 1e-18; n++) {
      term *= (-z * z) / n
      total += term / (2 * n + 1)
    }
    return (Math.sign(x) * 2 * total) / Math.sqrt(Math.PI)
  }
  let fraction = z
  for (let n = 200; n > 0; n--) fraction = z + n / 2 / fraction
  return Math.sign(x) * (1 - Math.exp(-z * z) / (fraction * Math.sqrt(Math.PI)))
}

function matmul(a: Tensor, b: Tensor): Tensor {
  const [rows, inner] = a.dims.slice(-2) as [number, number]
  const batch = broadcast(a.dims.slice(0, -2), b.dims.slice(0, -2))
  return fill([...batch, rows, b.dims.at(-1)!], (where) => {
    const [front, row, col] = [where.slice(0, -2), where.at(-2)!, where.at(-1)!]
    let total = 0
    for (let i = 0; i < inner; i++) total += at(a, [...front, row, i]) * at(b, [...front, i, col])
    return total
  })
}

const turned = (w: Tensor) => fill([w.dims[1]!, w.dims[0]!], ([i, j]) => at(w, [j!, i!]))

const interpreters: Interpreters = {
  linear([x, w, bias], { inputFirst }) {
    const flat = { dims: [x!.data.length / x!.dims.at(-1)!, x!.dims.at(-1)!], data: x!.data }
    const product = matmul(flat, inputFirst ? w! : turned(w!))
    const y = { dims: [...x!.dims.slice(0, -1), product.dims[1]!], data: product.data }
    return bias === undefined ? y : both(y, { dims: [bias.data.length], data: bias.data }, (a, b) => a + b)
  },
  matmul: ([a, b]) => matmul(a!, b!),
  add: ([a, b]) => both(a!, b!, (a, b) => a + b),
  mul: ([a, b]) => both(a!, b!, (a, b) => a * b),
  div: ([a, b]) => both(a!, b!, (a, b) => a / b),
  rmsNorm([x, scale], { epsilon }) {
    const normal = lastAxis(x!, (row) => row.map((value) => value / Math.sqrt(mean(row.map((v) => v * v)) + epsilon)))
    return both(normal, scale!, (a, b) => a * b)
  },
  layerNorm([x, scale, bias], { epsilon }) {
    const normal = lastAxis(x!, (row) => {
      const middle = mean(row)
      const centred = row.map((value) => value - middle)
      const deviation = Math.sqrt(mean(centred.map((v) => v * v)) + epsilon)
      return centred.map((value) => value / deviation)
    })
    const scaled = both(normal, scale!, (a, b) => a * b)
    return bias === undefined ? scaled : both(scaled, bias, (a, b) => a + b)
  },
  rowLength: ([w]) => withoutLast(lastAxis(w!, (row) => [Math.max(1e-12, Math.hypot(...row))], 1)),
  silu: ([x]) => map(x!, (v) => v * sigmoid(v)),
  gelu: ([x]) => map(x!, (v) => 0.5 * v * (1 + erf(v / Math.SQRT2))),
  geluTanh: ([x]) => map(x!, (v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))),
  quickGelu: ([x]) => map(x!, (v) => v * sigmoid(1.702 * v)),
  relu: ([x]) => map(x!, (v) => Math.max(0, v)),
  squaredRelu: ([x]) => map(x!, (v) => Math.max(0, v) ** 2),
  tanh: ([x]) => map(x!, Math.tanh),
  embedding: ([table, ids]) =>
    fill([...ids!.dims, table!.dims[1]!], (where) => at(table!, [at(ids!, where.slice(0, -1)), where.at(-1)!])),
  reshape([x], { shape }) {
    const dims = shape.map((size, axis) => (size === 0 ? x!.dims[axis]! : size))
    const known = countOf(dims.filter((size) => size !== -1))
    return { dims: dims.map((size) => (size === -1 ? x!.data.length / known : size)), data: x!.data }
  },
  transpose([x], { order }) {
    const dims = order.map((axis) => x!.dims[axis]!)
    return fill(dims, (where) =>
      at(
        x!,
        order.map((_, axis) => where[order.indexOf(axis)]!),
      ),
    )
  },
  slice([x], { axis, start, end }) {
    const along = axisOf(x!, axis)
    return fill(x!.dims.with(along, end - start), (where) => at(x!, where.with(along, where[along]! + start)))
  },
  concat(inputs, { axis }) {
    const along = axisOf(inputs[0]!, axis)
    const total = inputs.reduce((size, { dims }) => size + dims[along]!, 0)
    return fill(inputs[0]!.dims.with(along, total), (where) => {
      let place = where[along]!
      const piece = inputs.find(({ dims }) => {
        if (place < dims[along]!) return true
        place -= dims[along]!
        return false
      })
      return at(piece!, where.with(along, place))
    })
  },
  gather([x, index], { axis }) {
    const along = axisOf(x!, axis)
    const dims = x!.dims.with(along, index!.data.length)
    return fill(dims, (where) => at(x!, where.with(along, index!.data[where[along]!]!)))
  },
  scale: ([x], { by }) => map(x!, (v) => v * by),
  shift: ([x], { by }) => map(x!, (v) => v + by),
  softmax: ([x]) =>
    lastAxis(x!, (row) => {
      const total = logSumExp(row)
      return row.map((v) => Math.exp(v - total))
    }),
  logSumExp: ([x]) => withoutLast(lastAxis(x!, (row) => [logSumExp(row)], 1)),
  logProbability([z, index]) {
    const totals = withoutLast(lastAxis(z!, (row) => [logSumExp(row)], 1))
    return fill(index!.dims, (where) => at(z!, [where[0]!, at(index!, where)]) - totals.data[where[0]!]!)
  },
  pick: ([x, index]) => fill(index!.dims, ([n]) => at(x!, [n!, index!.data[n!]!])),
  sum([x], { axes, keepDims }) {
    const kept = x!.dims.map((size, axis) => (axes.includes(axis) ? 1 : size))
    const total = new Float64Array(countOf(kept))
    for (let place = 0; place < x!.data.length; place++) {
      const where = coordinates(x!.dims, place)
      total[kept.reduce((sum, size, axis) => sum * size + (size === 1 ? 0 : where[axis]!), 0)]! += x!.data[place]!
    }
    return { dims: keepDims ? kept : x!.dims.filter((_, axis) => !axes.includes(axis)), data: total }
  },
  mean: ([x]) => lastAxis(x!, (row) => [mean(row)], 1),
  reciprocalRoot: ([x]) => map(x!, (v) => 1 / Math.sqrt(v)),
  exp: ([x]) => map(x!, Math.exp),
  erf: ([x]) => map(x!, erf),
  sigmoid: ([x]) => map(x!, sigmoid),
  step: ([x]) => map(x!, (v) => (v > 0 ? 1 : 0)),
  reshapeLike: ([x, like]) => ({ dims: like!.dims, data: x!.data }),
  padLike([x, like], { axis, start }) {
    const along = axisOf(x!, axis)
    return fill(like!.dims, (where) => {
      const place = where[along]! - start
      return place >= 0 && place < x!.dims[along]! ? at(x!, where.with(along, place)) : 0
    })
  },
  ungather([x, index, like], { axis }) {
    const along = axisOf(x!, axis)
    return fill(like!.dims, (where) => {
      const place = index!.data.indexOf(where[along]!)
      return place < 0 ? 0 : at(x!, where.with(along, place))
    })
  },
  unpick([x, index, like]) {
    const each = x!.data.length / x!.dims[0]!
    const total = new Float64Array(like!.data.length)
    for (const [i, value] of x!.data.entries()) total[Math.floor(i / each) * like!.dims[1]! + index!.data[i]!]! += value
    return { dims: like!.dims, data: total }
  },
  outerSum([a, b]) {
    const flat = (x: Tensor) => ({ dims: [x.data.length / x.dims.at(-1)!, x.dims.at(-1)!], data: x.data })
    return matmul(turned(flat(a!)), flat(b!))
  },
}
