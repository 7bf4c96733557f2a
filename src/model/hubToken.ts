import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { OutputError } from '../errors.ts'
import { hubHome, pathIn } from './hubCache.ts'

/**
 * The user's access token for the hub, from HF_TOKEN or from the file that `hf auth login` writes (HF_TOKEN_PATH, else `token` in
 * HF_HOME); undefined where there is none. Throws `OutputError` for a text that is none, without repeating it.
 */
export async function hubToken(): Promise<string | undefined> {
  const fromEnvironment = process.env['HF_TOKEN']?.trim()
  if (fromEnvironment) return checked(fromEnvironment, 'HF_TOKEN')
  const path = pathIn('HF_TOKEN_PATH') ?? join(hubHome(), 'token')
  let text: string
  try {
    text = (await readFile(path, 'utf8')).trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new OutputError(
      `${path}: the token cannot be read (${(error as NodeJS.ErrnoException).code}); set HF_TOKEN`,
      {
        cause: error,
      },
    )
  }
  return text === '' ? undefined : checked(text, path)
}

function checked(token: string, where: string): string {
  if (/^hf_\w+$/.test(token)) return token
  throw new OutputError(
    `${where}: does not hold an access token, expected letters and digits after "hf_"; make one at https://huggingface.co/settings/tokens`,
  )
}
