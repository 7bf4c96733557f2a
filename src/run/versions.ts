import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/** Version of this package and of the runtime whose kernels made the numbers. */
export function versions(): { blockpruner: string; onnxruntime: string } {
  return {
    blockpruner: (require('../../package.json') as { version: string }).version,
    onnxruntime: (require('onnxruntime-node/package.json') as { version: string }).version,
  }
}
