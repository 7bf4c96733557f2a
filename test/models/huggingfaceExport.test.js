import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { exportHuggingFace } from '../../src/export/huggingface.js';
import { describeModel } from '../../src/model/describe.js';
import { openFolder } from '../../src/model/folder.js';
/**
 * Exports loaded and compared in transformers. BLOCKPRUNER_PYTHON names a python with torch and transformers;
 * BLOCKPRUNER_TEST_MODELS may name further model folders of at least four layers, separated by commas.
 */
const python = process.env['BLOCKPRUNER_PYTHON'];
const made = ['llama-biases', 'mistral-window', 'qwen2-two-types'];
const given = process.env['BLOCKPRUNER_TEST_MODELS']?.split(',') ?? [];
let madeFolder = '';
beforeAll(async () => {
    if (python === undefined)
        return;
    madeFolder = await mkdtemp(join(tmpdir(), 'export-models-'));
    run([join(import.meta.dirname, 'make_models.py'), madeFolder]);
}, 120_000);
afterAll(() => rm(madeFolder, { recursive: true, force: true }));
const without = (...blocks) => ({
    blocks: blocks.map((block) => `decoder.${block}`),
    units: {},
});
const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);
/** Plan and the form it must take, by name. `model` has two key/value heads or more and four layers or more. */
function plansFor(model) {
    const layers = model.blocks.length / 2;
    const channels = model.blocks[1].units;
    const headsLeft = model.sizes['G'] * (model.sizes['K'] - 1);
    const headsLoad = model.config['model_type'] !== 'llama' || model.sizes['D'] % headsLeft === 0;
    const all = range(0, layers);
    const each = (kind, units) => Object.fromEntries(all.map((layer) => [`decoder.${layer}.${kind}`, units]));
    return {
        nothing: ['whole', without()],
        wholeLayers: ['whole', without('1.attention', '1.mlp', '2.mlp', '2.attention')],
        repackedAdjacent: ['repacked', without('1.attention', '0.mlp')],
        repackedFarApart: ['repacked', without('0.attention', '0.mlp', '1.mlp', '2.attention')],
        firstAttention: ['custom', without('0.attention')],
        mlpOnlyLayer: ['custom', without('2.attention')],
        attentionOnlyLayer: ['custom', without('1.mlp')],
        bothInTheMiddle: ['custom', without('1.attention', '1.mlp', '3.attention')],
        firstAttentions: ['custom', without('0.attention', '1.attention', '2.attention', '3.mlp')],
        noAttention: ['custom', without(...all.map((layer) => `${layer}.attention`))],
        noMlp: ['custom', without(...all.map((layer) => `${layer}.mlp`))],
        noBlocks: ['whole', without(...all.flatMap((layer) => [`${layer}.attention`, `${layer}.mlp`]))],
        uniformWidths: [
            headsLoad ? 'whole' : 'custom',
            { blocks: [], units: { ...each('attention', [1]), ...each('mlp', range(channels / 2, channels)) } },
        ],
        uniformWidthsRepacked: [
            'repacked',
            { blocks: ['decoder.1.mlp', 'decoder.2.attention'], units: { ...each('mlp', range(0, channels - 8)) } },
        ],
        unevenWidths: [
            'custom',
            {
                blocks: ['decoder.1.attention'],
                units: { 'decoder.0.attention': [0], 'decoder.2.mlp': range(3, 40), 'decoder.3.mlp': [0, channels - 1] },
            },
        ],
    };
}
test.skipIf(python === undefined).for(['models/brown-llama', ...made, ...given])('exports of %s give the logits of the skipped dense model in transformers (needs BLOCKPRUNER_PYTHON)', { timeout: 1_200_000 }, async (name) => {
    const folder = made.includes(name) ? join(madeFolder, name) : name;
    const model = describeModel(folder, folder, await openFolder(folder));
    const target = await mkdtemp(join(tmpdir(), `export-${basename(folder)}-`));
    try {
        const pairs = [];
        for (const [name, [form, plan]] of Object.entries(plansFor(model))) {
            const written = await exportHuggingFace(model, plan, join(target, name));
            expect(`${name}: ${written.form}`).toBe(`${name}: ${form}`);
            await writeFile(join(target, `${name}.json`), JSON.stringify(plan));
            pairs.push(join(target, name), join(target, `${name}.json`));
        }
        const script = join(import.meta.dirname, 'verify_export.py');
        const stdout = run([script, resolve(folder), ...pairs], join(target, 'modules'));
        expect(stdout.match(/^FAIL .*/gm) ?? []).toEqual([]);
        expect(stdout).toMatch(/^(\d+) of \1 checks passed$/m);
    }
    finally {
        await model.weights.close();
        await rm(target, { recursive: true });
    }
});
/** Runs a script of this folder; its lines are the report. */
function run(args, modulesCache = '') {
    const { stdout, stderr, status } = spawnSync(python ?? '', args, {
        encoding: 'utf8',
        env: { ...process.env, HF_HUB_OFFLINE: '1', ...(modulesCache !== '' && { HF_MODULES_CACHE: modulesCache }) },
    });
    process.stdout.write(stdout);
    if (status !== 0 && !stdout.includes('checks passed'))
        throw new Error(stderr.slice(-2000));
    return stdout;
}
