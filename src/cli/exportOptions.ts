import type { Command } from 'commander'
import { Option } from 'commander'
import type { ExportedFormats } from '../run/exportFormats.ts'
import type { Format, OtherFormatOptions } from '../run/otherFormats.ts'
import { listOf } from './options.ts'

/** What the export options give. */
export interface ExportOptions {
  readonly format?: Format[]
  readonly quantize?: NonNullable<OtherFormatOptions['quantize']>
  readonly dtypes?: ('fp32' | 'fp16' | 'q8' | 'q4')[]
  readonly attention?: NonNullable<OtherFormatOptions['attention']>
  readonly verify: boolean
  readonly force?: true
}

export function withExportOptions(command: Command): Command {
  return command
    .option(
      '--format <list>',
      'huggingface, gguf (llama.cpp), onnx (transformers.js), nemotron (vLLM, mlx-lm), mergekit (a recipe) (default: gguf for a .gguf file, else huggingface)',
      listOf<Format>(['huggingface', 'gguf', 'onnx', 'nemotron', 'mergekit']),
    )
    .addOption(
      new Option('--quantize <type>', 'type of the matrices of a GGUF file (default: as stored)').choices([
        'F32',
        'F16',
        'BF16',
        'Q8_0',
        'Q4_0',
      ]),
    )
    .option(
      '--dtypes <list>',
      'ONNX models to write: fp32, fp16, q8, q4 (default: q8)',
      listOf<'fp32' | 'fp16' | 'q8' | 'q4'>(['fp32', 'fp16', 'q8', 'q4']),
    )
    .addOption(
      new Option(
        '--attention <form>',
        'of ONNX decoders: one fused operator where there is one, for prompts padded on the right, or standard operators, for ' +
          'prompts padded on either side (default: fused)',
      ).choices(['fused', 'plain']),
    )
    .option('--force', 'replace what stands where an export goes, whatever it is')
    .option('--no-verify', 'do not open exports in other software, where a large model takes long')
}

/** A line for each export but that for Hugging Face: what it is, and who agrees. */
export function linesOf(others: ExportedFormats['others'], denseBytes: number): string[] {
  return others.map(({ format, path, files, consumers }) => {
    if (format === 'mergekit') return `mergekit: ${path}, builds the model with mergekit-yaml`
    return `${format}: ${path}, ${sizesText(files, denseBytes)}, ${agreementOf(consumers)}`
  })
}

/** The size of each file with weights beside that of the dense model. */
export function sizesText(files: ExportedFormats['others'][number]['files'], denseBytes: number): string {
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`
  const each = files.map(({ name, sizeBytes }) => (files.length === 1 ? '' : `${name} `) + megabytes(sizeBytes))
  return `${each.join(', ')} (dense ${megabytes(denseBytes)})`
}

/** Who agrees with the plan, or that nobody was asked. */
export function agreementOf(consumers: ExportedFormats['others'][number]['consumers']): string {
  if (consumers.length === 0) return 'opened in no other software'
  const namesOf = (asked: 'agrees' | 'rounded') => {
    const those = consumers.filter(({ status }) => status === asked)
    return [...new Set(those.map(({ consumer }) => consumer))].map((name) => {
      const precisions = those.filter(({ consumer }) => consumer === name).map(({ precision }) => precision)
      return precisions.length === 1 && asked === 'agrees' ? name : `${name} (${precisions.join(', ')})`
    })
  }
  const [agreeing, rounded] = [namesOf('agrees'), namesOf('rounded')]
  const parts = [
    ...(agreeing.length > 0 ? [`agreed with by ${agreeing.join(', ')}`] : []),
    ...(rounded.length > 0 ? [`within rounding in ${rounded.join(', ')}`] : []),
  ]
  return parts.join(', ') || 'agreed with by nobody: no software for it is installed'
}
