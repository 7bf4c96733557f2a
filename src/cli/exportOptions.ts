import type { Command } from 'commander'
import { Option } from 'commander'
import type { OtherFormatOptions } from '../run/otherFormats.ts'
import { listOf } from './options.ts'

export type Format = 'huggingface' | 'gguf' | 'onnx'

/** What the export options give. */
export interface ExportOptions {
  readonly format: Format[]
  readonly quantize?: NonNullable<OtherFormatOptions['quantize']>
  readonly dtypes?: ('fp32' | 'fp16' | 'q8' | 'q4')[]
}

export function withExportOptions(command: Command): Command {
  return command
    .option(
      '--format <list>',
      'huggingface, gguf (llama.cpp), onnx (transformers.js)',
      listOf<Format>(['huggingface', 'gguf', 'onnx']),
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
}
