import { folderWithPackage, nodeArguments, scoreInChild } from './childProcess.ts'
import type { Consumer } from './consumer.ts'

/** transformers.js in Node, which runs on onnxruntime-node. */
export const transformersJs: Consumer = {
  name: 'transformers.js',
  formats: ['onnx'],
  async score(request) {
    const name = '@huggingface/transformers'
    const folder = folderWithPackage(name, request.modulesFrom)
    if (folder === undefined) return { skipped: `${name} is not installed: npm i ${name}` }
    const program = nodeArguments(name, 'transformersJsChild', 'scoreWithTransformersJs')
    return scoreInChild(process.execPath, program, request, { cwd: folder })
  },
}
