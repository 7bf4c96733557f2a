import { copyFile, mkdir, readdir, symlink, truncate, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { CheckpointError } from '../../src/errors.ts'
import { carriedPaths } from '../../src/model/carriedFiles.ts'
import { folderOfFile, openFolder } from '../../src/model/folder.ts'
import { resolveModel } from '../../src/model/hub.ts'
import { rawFile, scratchFolder } from '../format/safetensors/rawFile.ts'

const fixtures = fileURLToPath(new URL('../fixtures/safetensors', import.meta.url))

/** A folder with these files; `weights` stands for a safetensors file with one tensor of this name. */
async function folderWith(files: Readonly<Record<string, string | { readonly weights: string }>>): Promise<string> {
  const folder = await scratchFolder()
  for (const [name, content] of Object.entries(files)) {
    const header = (tensor: string) => ({ [tensor]: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } })
    await writeFile(join(folder, name), typeof content === 'string' ? content : rawFile(header(content.weights), 4))
  }
  return folder
}

async function refusal(folder: string): Promise<string> {
  const error: unknown = await openFolder(folder).then(
    ({ weights }) => weights.close(),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(CheckpointError)
  const { message } = error as Error
  expect(message).not.toContain('\n')
  return message
}

describe('a model folder', () => {
  it('as transformers saves it, sharded, is opened with its config and the files to carry along', async () => {
    const { config, weights, assets } = await openFolder(join(fixtures, 'sharded'))
    expect(config['model_type']).toBe('llama')
    expect(config['num_hidden_layers']).toBe(2)
    expect(weights.tensors.size).toBe(21)
    expect([...assets.keys()]).toEqual(['generation_config.json'])
    const text = new TextDecoder().decode(await assets.get('generation_config.json')!())
    expect(JSON.parse(text)).toMatchObject({ bos_token_id: 1 })
    await weights.close()
  })

  it('is opened by links, as the hub cache has them', async () => {
    const folder = await scratchFolder()
    for (const name of await readdir(join(fixtures, 'sharded'))) {
      await symlink(join(fixtures, 'sharded', name), join(folder, name))
    }
    const { weights } = await openFolder(folder)
    expect(weights.tensors.size).toBe(21)
    await weights.close()
  })

  it.each<[string, Record<string, string | { weights: string }>, string]>([
    [
      'model.safetensors before an index',
      { 'model.safetensors': { weights: 'a' }, 'model.safetensors.index.json': '?' },
      'a',
    ],
    [
      'the index before loose files',
      {
        'model.safetensors.index.json': '{"weight_map":{"b":"x.safetensors"}}',
        'x.safetensors': { weights: 'b' },
        'y.safetensors': { weights: 'c' },
      },
      'b',
    ],
    [
      'an index of another name',
      {
        'model.fp16.safetensors.index.json': '{"weight_map":{"b":"x.safetensors"}}',
        'x.safetensors': { weights: 'b' },
      },
      'b',
    ],
    ['one file of another name', { 'pruned.safetensors': { weights: 'c' }, 'pytorch_model.bin': '' }, 'c'],
  ])('gives its weights from %s', async (_, files, tensor) => {
    const { weights } = await openFolder(await folderWith({ 'config.json': '{}', ...files }))
    expect([...weights.tensors.keys()]).toEqual([tensor])
    await weights.close()
  })

  it('carries along whatever is not weights, training, data or code, read when asked for', async () => {
    const carried = [
      ...['tokenizer.json', 'merges.txt', 'tekken.json', 'source.spm', 'target.spm', 'spiece.model', 'vocab.bpe'],
      ...[
        'chat_template.jinja',
        'additional_chat_templates/rag.jinja',
        'preprocessor_config.json',
        'processor_config.json',
      ],
      ...['modules.json', 'config_sentence_transformers.json', 'sentence_bert_config.json', '1_Pooling/config.json'],
      ...['2_Dense/config.json', '2_Dense/model.safetensors', 'tokenization_own.py'],
      ...['LICENSE', 'LICENSE.md', 'NOTICE', 'license', 'README.md'],
    ]
    const left = [
      ...['pytorch_model.bin', 'optimizer.pt', 'pytorch_model.bin.index.json', 'flax_model.msgpack', 'rust_model.ot'],
      ...['onnx/model.onnx', 'onnx/config.json', 'checkpoint-5/trainer_state.json', 'runs/a/events.out.tfevents'],
      ...['trainer_state.json', 'eval_results.json', 'modeling_own.py', 'picture.png', 'train.csv', 'NOTES.md', '.env'],
      ...['other/config.json', 'other/tokenizer.json', 'run/journal.jsonl', 'run/plan.json', '.git/config.txt'],
    ]
    const files = Object.fromEntries([...carried, ...left].map((name) => [name, `content of ${name}`]))
    const folder = await folderWith({ 'config.json': '{}', 'model.safetensors': { weights: 'a' } })
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(folder, name)), { recursive: true })
      await writeFile(join(folder, name), content)
    }
    const { weights, assets } = await openFolder(folder)
    expect([...assets.keys()]).toEqual(carried.toSorted())
    // the same of a hub's repository
    expect(carriedPaths([...Object.keys(files), 'config.json', 'model.safetensors'])).toEqual(carried.toSorted())
    await writeFile(join(folder, 'LICENSE'), 'changed since')
    expect(new TextDecoder().decode(await assets.get('LICENSE')!())).toBe('changed since')
    await truncate(join(folder, 'merges.txt'), 600_000_000)
    await expect(assets.get('merges.txt')!()).rejects.toThrow(
      'merges.txt: has 600000000 bytes, expected at most 500000000',
    )
    await weights.close()
    await expect(openFolder(folder)).rejects.toThrow('merges.txt: has 600000000 bytes')
  })
})

describe('a model of which one file is named', () => {
  const header = { weights: 'a' }

  it.each(['model.safetensors', 'config.json'])('is its folder: %s', async (name) => {
    const folder = await folderWith({ 'config.json': '{}', 'model.safetensors': header })
    expect(await folderOfFile(join(folder, name))).toBe(folder)
    expect(await resolveModel(join(folder, name))).toBe(folder)
  })

  it.each(['model.safetensors.index.json', 'model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'])(
    'is the whole model, shards and all: %s',
    async (name) => {
      const shards = { 'model-00001-of-00002.safetensors': header, 'model-00002-of-00002.safetensors': header }
      const folder = await folderWith({ 'config.json': '{}', 'model.safetensors.index.json': '{}', ...shards })
      expect(await folderOfFile(join(folder, name))).toBe(folder)
    },
  )

  it.each<[string, Record<string, string | { weights: string }>, string]>([
    ['model.safetensors', { 'model.safetensors': header }, 'has no config.json beside it, expected one'],
    [
      'model.fp16.safetensors',
      { 'config.json': '{}', 'model.safetensors': header, 'model.fp16.safetensors': header },
      'is not what its folder is opened by, model.safetensors; move it and config.json into a folder of their own',
    ],
    [
      'pytorch_model.bin',
      { 'config.json': '{}', 'pytorch_model.bin': '' },
      'is no model, expected a model folder, a .gguf file, or a .safetensors file with config.json beside it; pytorch_model.bin is a pickled',
    ],
  ])('is not found by %s where that is not it', async (name, files, message) => {
    const path = join(await folderWith(files), name)
    await expect(folderOfFile(path)).rejects.toThrow(CheckpointError)
    await expect(folderOfFile(path)).rejects.toThrow(`${path}: ${message}`)
  })
})

describe('a folder that is not one', () => {
  it('says what is missing', async () => {
    const folder = await scratchFolder()
    expect(await refusal(join(folder, 'none'))).toMatch(
      /none: cannot be opened as a folder \(ENOENT.*expected a model folder/,
    )
    expect(await refusal(folder)).toBe(
      `${folder}: has no config.json, expected a model folder with config.json and model.safetensors; is the path right and the download complete?`,
    )
    await writeFile(join(folder, 'config.json'), '{}')
    expect(await refusal(folder)).toBe(
      `${folder}: has no weights, expected model.safetensors or model.safetensors.index.json; is the path right and the download complete?`,
    )
    expect(await refusal(join(folder, 'config.json'))).toContain('config.json: cannot be opened as a folder (ENOTDIR')
  })

  it.each(['pytorch_model.bin', 'pytorch_model.bin.index.json', 'consolidated.00.pth', 'model.ckpt'])(
    'is told how to convert %s, which is never opened',
    async (name) => {
      // a pickle that would print, were it loaded
      const folder = await folderWith({ 'config.json': '{}', [name]: "cbuiltins\nprint\n(S'run'\ntR." })
      const message = await refusal(folder)
      expect(message).toContain(
        `has no weights, expected model.safetensors or model.safetensors.index.json; ${name} is a pickled`,
      )
      expect(message).toContain(`from_pretrained('${folder}').save_pretrained('`)
    },
  )

  it.each([
    ['BertForMaskedLM', 'import BertForMaskedLM as M;'],
    ["x'); import os #", 'import AutoModelForCausalLM as M;'],
    [undefined, 'import AutoModelForCausalLM as M;'],
  ])('is told to convert a pickled %s with the class that keeps its head', async (name, advice) => {
    const config = JSON.stringify(name === undefined ? {} : { architectures: [name] })
    expect(await refusal(await folderWith({ 'config.json': config, 'pytorch_model.bin': '' }))).toContain(advice)
  })

  it.each([
    [{ model_type: 'roberta' }, 'AutoModelForMaskedLM'],
    [{ model_type: 't5' }, 'AutoModelForSeq2SeqLM'],
    [{ model_type: 'gpt2' }, 'AutoModelForCausalLM'],
    // as the first checkpoints of BERT have it
    [{ type_vocab_size: 2, vocab_size: 30522 }, 'BertForPreTraining'],
  ])('is told to convert a pickled %j, which names no class, with %s', async (settings, name) => {
    const config = JSON.stringify(settings)
    const advice = `import ${name} as M;`
    expect(await refusal(await folderWith({ 'config.json': config, 'pytorch_model.bin': '' }))).toContain(advice)
  })

  it.each<[string, Record<string, string>, string]>([
    [
      'GGUF',
      { 'm.gguf': '' },
      'has no config.json, expected a model folder with config.json and model.safetensors; to prune m.gguf, name that file',
    ],
    [
      'TensorFlow',
      { 'config.json': '{}', 'tf_model.h5': '' },
      'tf_model.h5 cannot be read: save the model as safetensors',
    ],
    [
      'an adapter',
      { 'config.json': '{}', 'adapter_config.json': '{}', 'adapter_model.safetensors': '' },
      'holds an adapter, expected a whole model; merge it',
    ],
    [
      'weights that may not belong together',
      { 'config.json': '{}', 'a.safetensors': '', 'b.safetensors': '' },
      'has 2 weight files (a.safetensors, b.safetensors …) and no model.safetensors.index.json',
    ],
  ])('is told what to do with %s', async (_, files, message) => {
    expect(await refusal(await folderWith(files))).toContain(message)
  })

  it.each([
    ['is not JSON', '{"a": ', 'config.json: is not JSON; is the download complete?'],
    ['is a list', '[]', 'config.json: holds a list, expected an object'],
    ['is null', 'null', 'config.json: holds null, expected an object'],
    ['is a text', '"x"', 'config.json: holds a string, expected an object'],
    ['is empty', '', 'config.json: is not JSON'],
  ])('is refused when its config.json %s', async (_, text, message) => {
    expect(await refusal(await folderWith({ 'config.json': text, 'model.safetensors': { weights: 'a' } }))).toContain(
      message,
    )
  })

  it('is refused when its config.json is too large or a folder', async () => {
    const folder = await folderWith({ 'config.json': '', 'model.safetensors': { weights: 'a' } })
    await truncate(join(folder, 'config.json'), 2 ** 40)
    expect(await refusal(folder)).toContain('config.json: has 1099511627776 bytes, expected at most 10000000')
    const other = await scratchFolder()
    await mkdir(join(other, 'config.json'))
    expect(await refusal(other)).toContain('config.json: is not a plain file')
  })

  it('is refused when its weights are damaged', async () => {
    const folder = await folderWith({ 'config.json': '{}' })
    await copyFile(join(fixtures, 'types.safetensors'), join(folder, 'model.safetensors'))
    await truncate(join(folder, 'model.safetensors'), 1100)
    expect(await refusal(folder)).toMatch(/model.safetensors: tensor ".*" ends at data byte/)
  })
})
