import { folderWithPackage, nodeArguments, scoreInChild } from './childProcess.ts'
import type { Consumer } from './consumer.ts'

/** llama.cpp through node-llama-cpp, on the CPU. */
export const llamaCpp: Consumer = {
  name: 'llama.cpp (node-llama-cpp)',
  formats: ['gguf'],
  async score(request) {
    const folder = folderWithPackage('node-llama-cpp', request.modulesFrom)
    if (folder === undefined) return { skipped: 'node-llama-cpp is not installed: npm i node-llama-cpp' }
    return scoreInChild(
      process.execPath,
      nodeArguments('node-llama-cpp', 'llamaCppChild', 'scoreWithLlamaCpp'),
      request,
      {
        cwd: folder,
      },
    )
  },
}
