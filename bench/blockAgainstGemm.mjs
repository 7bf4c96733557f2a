// One block's forward against nothing but its matrix products, interleaved.
import * as ort from 'onnxruntime-node'
import { cpuDevice, sessionOptions } from '../dist/device/cpu.js'
import { untouched } from '../dist/engine/edit.js'
import { environmentCache } from '../dist/engine/environment.js'
import { weightsOf } from '../dist/engine/weights.js'
import { encodeOnnx } from '../dist/format/onnx/encode.js'
import { programOf } from '../dist/graph/program.js'
import { graphToOnnx } from '../dist/graph/toOnnx.js'

/** Prints, for the first attention and the first mlp, the share of a block's time that its bare products take. */
export async function blockAgainstGemm(model, { rows, rowLength, threads }) {
  const options = sessionOptions(threads)
  // its handles are the runtime's tensors
  const device = cpuDevice({ threads })
  const [weights, environment] = [weightsOf(model, device), environmentCache(device)]
  const width = model.sizes.D
  const hidden = new ort.Tensor(
    'float32',
    Float32Array.from({ length: rows * rowLength * width }, (_, i) => Math.sin(i)),
    [rows, rowLength, width],
  )
  for (const kind of ['attention', 'mlp']) {
    const stage = programOf(model).stages.find(({ block }) => block?.kind === kind)
    const graph = stage.graph(stage.block.units)
    const feeds = {}
    for (const { value, source } of graph.inputs) {
      if (source.from === 'weight')
        feeds[value.name] = await weights.get(stage.weights, source.role, { block: stage.block, edit: untouched })
      else if (source.from === 'environment') feeds[value.name] = environment(source.of, rows, rowLength)
      else feeds[value.name] = hidden
    }
    const block = await ort.InferenceSession.create(graphToOnnx(graph), options)
    const products = await Promise.all(
      Object.values(feeds)
        .filter(
          (tensor) =>
            tensor !== hidden &&
            tensor.dims.length === 2 &&
            tensor.dims.includes(width) &&
            tensor.data.length >= width * 64,
        )
        .map(async (w) => {
          const [out, inner] = w.dims
          const x = new ort.Tensor('float32', new Float32Array(rows * rowLength * inner).fill(0.5), [
            rows * rowLength,
            inner,
          ])
          const gemm = {
            name: 'gemm',
            opsets: { '': 21 },
            initializers: [],
            nodes: [{ type: 'Gemm', inputs: ['x', 'w'], outputs: ['y'], attributes: { transB: { int: 1 } } }],
            inputs: [
              { name: 'x', type: 'float32', dims: ['N', inner] },
              { name: 'w', type: 'float32', dims: [out, inner] },
            ],
            outputs: [{ name: 'y', type: 'float32', dims: ['N', out] }],
          }
          return { session: await ort.InferenceSession.create(encodeOnnx(gemm), options), feeds: { x, w } }
        }),
    )
    const bare = async () => {
      for (const { session, feeds: given } of products) await session.run(given)
    }
    const shares = []
    for (let round = 0; round < 200; round++) {
      const begin = performance.now()
      await bare()
      const middle = performance.now()
      await block.run(feeds)
      shares.push((middle - begin) / (performance.now() - middle))
    }
    shares.sort((a, b) => a - b)
    console.log(
      `${kind}: ${products.length} products take ${(shares[100] * 100).toFixed(0)} % of the block's time (median of 200)`,
    )
  }
}
