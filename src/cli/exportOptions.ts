import type { Command } from 'commander'
import { Option } from 'commander'
import type { ExportedFormats, Format } from '../run/exportFormats.ts'
import type { OtherFormatOptions } from '../run/otherFormats.ts'
import { listOf } from './options.ts'

/** What the export options give. */
export interface ExportOptions {
  readonly format: Format[]
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
      'huggingface, gguf (llama.cpp), onnx (transformers.js), nemotron (vLLM, mlx-lm), mergekit (a recipe)',
      listOf<Format>(['huggingface', 'gguf', 'onnx', 'nemotron', 'mergekit']),
      ['huggingface'],
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
      'ONNX models to write: fp32, fp16, q8, q4 (default: fp32)',
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
export function linesOf(others: ExportedFormats['others']): string[] {
  return others.map(({ format, path, sizeBytes, consumers }) => {
    if (format === 'mergekit') return `mergekit: ${path}, builds the model with mergekit-yaml`
    const size = `${format}: ${path}, ${(sizeBytes / 1e6).toFixed(1)} MB`
    return `${size}, ${agreementOf(consumers)}`
  })
}

/** Who agrees with the plan, or that nobody was asked. */
export function agreementOf(consumers: ExportedFormats['others'][number]['consumers']): string {
  if (consumers.length === 0) return 'opened in no other software'
  const agreeing = consumers.filter(({ status }) => status === 'agrees')
  const names = [...new Set(agreeing.map(({ consumer }) => consumer))].map((name) => {
    const precisions = agreeing.filter(({ consumer }) => consumer === name).map(({ precision }) => precision)
    return precisions.length === 1 ? name : `${name} (${precisions.join(', ')})`
  })
  return `agreed with by ${names.join(', ') || 'nobody: no software for it is installed'}`
}
