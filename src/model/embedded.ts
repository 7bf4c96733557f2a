import { fileURLToPath } from 'node:url'

/** The model that comes with the package: a Llama of 2.7 M parameters trained on the Brown corpus. Needs no network. */
export const embeddedModelPath = fileURLToPath(new URL('../../models/brown-llama', import.meta.url))
