// Whether two builds make the same plans: every method and search, with their options, on the embedded model and, given a model of
// real size, BlockPruner, FinerCut and the fast search on it. Compares plan.json byte for byte, the versions aside.
//
//     node bench/samePlans.mjs --before DIR --after DIR [--model SmolLM2.gguf] [--only TEXT]
//
// DIR is a folder of the package with its `dist/`. Plans are kept by the content of the build and the arguments, so that a build is
// run once; exits 1 where two plans differ. A budget of speed is left out: it is measured, and no two runs agree.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs, promisify } from 'node:util'

const { values: options } = parseArgs({
  options: {
    before: { type: 'string' },
    after: { type: 'string', default: resolve(import.meta.dirname, '..') },
    model: { type: 'string' },
    only: { type: 'string', default: '' },
  },
})
if (options.before === undefined) throw new Error('--before DIR: a build to compare with is needed')

const small = '--nsamples 8 --seqlen 32'
const fewBlocks = '--remove 4'
const root = resolve(import.meta.dirname, '..')
const fixture = (name) => `test/fixtures/brown/${name}`
const cases = [
  // the published loop, by every budget
  `--search exact ${fewBlocks} ${small}`,
  `--search exact --remove all --nsamples 4 --seqlen 16`,
  `--search exact --ratio 0.2 ${small}`,
  `--search exact --size 4.5 ${small}`,
  `--search exact --kv-bytes 3000 ${small}`,
  `--search exact --kinds mlp ${fewBlocks} ${small}`,
  `--search exact --kinds mlp,attention ${fewBlocks} ${small}`,
  `--search exact --arithmetic released ${fewBlocks} ${small}`,
  `--search exact --check-rows 2 ${fewBlocks} ${small}`,
  `--search exact --texts 12 --seed 7 ${fewBlocks} --seqlen 32`,
  // searches
  `--search exact --objective kl ${fewBlocks} ${small}`,
  `--search exact --objective perplexity,js ${fewBlocks} ${small}`,
  `--search exact --layout stock --ratio 0.2 ${small}`,
  `--search fast --ratio 0.25 ${small}`,
  `--search fast --objective js --remove 6 ${small}`,
  `--search fast --objective perplexity,kl --check-rows 2 ${fewBlocks} ${small}`,
  `--search fast --layout stock --ratio 0.2 ${small}`,
  `--search fast --layout stock --check-rows 3 --remove 4 ${small}`,
  `--search beam --ratio 0.15 ${small}`,
  `--search beam --beam-width 2 --objective kl --remove 3 ${small}`,
  `--search beam --beam-width 2 --layout stock --ratio 0.1 ${small}`,
  `--search swap --ratio 0.2 --patience 12 ${small}`,
  `--search swap --start exact --remove 3 --patience 8 ${small}`,
  `--search swap --layout stock --ratio 0.1 --patience 8 ${small}`,
  `--search evolve --ratio 0.2 --generations 4 ${small}`,
  `--search evolve --start exact --remove 3 --generations 3 --seed 5 ${small}`,
  `--search evolve --layout stock --ratio 0.1 --generations 2 ${small}`,
  // methods
  `--method finercut ${fewBlocks} ${small}`,
  ...['kl', 'angular', 'euclidean', 'js_reversed', 'official_kl', 'official_angular', 'official_norm'].map(
    (distance) => `--method finercut --distance ${distance} --remove 2 --nsamples 4 --seqlen 32`,
  ),
  `--method finercut --order names --freeze 0.4 ${fewBlocks} ${small}`,
  `--method finercut --top-k 20 --check-rows 2 ${fewBlocks} ${small}`,
  `--method shortened-llama --remove 2 ${small}`,
  `--method shortened-llama --no-plus --ratio 0.2 ${small}`,
  `--method shortened-llama --criterion magnitude --no-plus --remove 4 ${small}`,
  `--method sleb --ratio 0.3 ${small}`,
  `--method shortgpt --remove 6 ${small}`,
  `--method shortgpt --unit block --kinds attention --remove 5 ${small}`,
  `--method llm-drop --remove 6 ${small}`,
  `--method angular --ratio 0.2 ${small}`,
  `--method policy-gradient --steps 12 --interval 5 --ratio 0.2 ${small}`,
  `--method policy-gradient --units channels+heads+blocks --budgets one --init constant --estimator plain --steps 6 --interval 3 --samples 3 --learning-rate 0.05 --batch-rows 3 --window 4 --ratio 0.2 ${small}`,
  `--method policy-gradient --units layers --steps 6 --interval 6 --remove 4 ${small}`,
  `--method flap --ratio 0.2 ${small}`,
  `--method flap --no-bias --kv-bytes 3000 ${small}`,
  `--method drop-tail --keep-last 1 --ratio 0.2 ${small}`,
  `--method magnitude --ratio 0.2 ${small}`,
  `--method magnitude --unit layer --reduction sum --remove 4 ${small}`,
  `--method random --remove 6 ${small}`,
  `--method random --unit layer --seed 3 --remove 4 --check-rows 2 ${small}`,
  // encoders, and norms behind the branches
  ...['keep', 'drop'].flatMap((norms) => [
    `--model ${fixture('brown-bert')} --output-norms ${norms} --search exact --remove 3 ${small}`,
    `--model ${fixture('brown-bert')} --output-norms ${norms} --search fast --remove 3 ${small}`,
    `--model ${fixture('brown-bert')} --output-norms ${norms} --method llm-drop --remove 3 ${small}`,
    `--model ${fixture('brown-bert')} --output-norms ${norms} --method flap --ratio 0.1 ${small}`,
  ]),
  `--model ${fixture('brown-t5')} --search exact --remove 3 ${small}`,
  `--model ${fixture('brown-t5')} --method finercut --remove 2 ${small}`,
  `--model ${fixture('brown-t5')} --method sleb --remove 2 ${small}`,
  ...(options.model === undefined
    ? []
    : [
        `--model ${options.model} --search exact --remove 3 --nsamples 2 --seqlen 32`,
        `--model ${options.model} --method finercut --remove 2 --nsamples 2 --seqlen 32`,
        `--model ${options.model} --search fast --remove 8 --nsamples 8 --seqlen 32`,
      ]),
].filter((text) => text.includes(options.only))

const hashOf = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex')

/** The compiled program of a folder, as one hash. */
function buildOf(folder) {
  const dist = join(folder, 'dist')
  const names = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.js'))
  const contents = names.sort().flatMap((name) => [name, readFileSync(join(dist, name))])
  return { program: join(dist, 'cli/main.js'), hash: hashOf(...contents) }
}

/** plan.json of a case without its versions, or what the program said instead. */
async function planOf({ program, hash }, text) {
  const kept = join(tmpdir(), 'blockpruner-same-plans', hash.slice(0, 16))
  const path = join(kept, `${hashOf(text).slice(0, 16)}.json`)
  mkdirSync(kept, { recursive: true })
  try {
    return readFileSync(path, 'utf8')
  } catch {
    const output = mkdtempSync(join(tmpdir(), 'same-plans-'))
    const given = [program, 'prune', ...text.split(' '), '--output', output, '--no-export', '--quiet', '--threads', '1']
    const failure = await promisify(execFile)(process.execPath, given, { cwd: root }).then(
      () => undefined,
      (error) => `no plan: ${error.stderr}`,
    )
    const plan = failure ?? readFileSync(join(output, 'plan.json'), 'utf8')
    rmSync(output, { recursive: true, force: true })
    if (failure === undefined) writeFileSync(path, plan)
    return plan
  }
}

/**
 * What two builds may write differently: their versions, the layers kept by --keep-last, once an option of one method, and the
 * runner-up of fast, once named only where it was measured on all rows.
 */
function withoutAside(text) {
  if (!text.startsWith('{')) return text
  const plan = JSON.parse(text)
  const isFast = ['fast', 'swap', 'evolve'].includes(plan.options.search)
  if (isFast) delete plan.warnings
  delete plan.versions
  delete plan.options.keepLast
  delete plan.options['keep-last']
  for (const step of isFast ? plan.steps : []) {
    delete step.runnerUp
    delete step.margin
    delete step.check?.runnerUpLoss
    delete step.check?.parted
  }
  return JSON.stringify(plan, null, 2)
}

const builds = [options.before, options.after].map((folder) => buildOf(resolve(folder)))
const waiting = [...cases]
const differing = []
await Promise.all(
  cpus().map(async () => {
    for (let text = waiting.shift(); text !== undefined; text = waiting.shift()) {
      const plans = []
      for (const build of builds) plans.push(withoutAside(await planOf(build, text)))
      const [before, after] = plans
      const isPlan = plans.every((plan) => plan.startsWith('{'))
      if (before !== after || !isPlan) differing.push(text)
      const word = !isPlan ? 'NO PLAN' : before === after ? 'same' : 'DIFFERENT'
      console.log(`${word.padEnd(10)} ${hashOf(before).slice(0, 8)} ${hashOf(after).slice(0, 8)}  ${text}`)
      if (word !== 'same') console.log(firstDifference(before, after))
    }
  }),
)
console.log(`${cases.length - differing.length} of ${cases.length} plans are the same`)
process.exitCode = differing.length > 0 ? 1 : 0

function firstDifference(before, after) {
  const [a, b] = [before.split('\n'), after.split('\n')]
  const at = a.findIndex((line, i) => line !== b[i])
  return `  line ${at + 1}: ${a[at]?.trim().slice(0, 200)}\n       now: ${b[at]?.trim().slice(0, 200)}`
}
