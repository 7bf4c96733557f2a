import { defineConfig } from 'vitest/config'

const results = process.env['CI_RESULTS']

const heavy = { testTimeout: 1_200_000, hookTimeout: 1_200_000, fileParallelism: false }
const realWeights = ['blockPruner', 'chat', 'killedExport', 'killedRun', 'killedRuns', 'shortenedLlama'].map(
  (name) => `test/models/${name}.test.ts`,
)

const devices = ['test/models/webgpu.test.ts']

// worker threads load dist/, so `npm test` builds first
export default defineConfig({
  test: {
    reporters: results === undefined ? ['default'] : ['default', ['json', { outputFile: results }]],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/models/**', 'test/program/**', '**/node_modules/**'],
          testTimeout: 60_000,
          // a core each: the default leaves one idle
          maxWorkers: '100%',
        },
      },
      {
        extends: true,
        // starts the program as a user would, some hundred times
        test: { name: 'program', include: ['test/program/**/*.test.ts'], testTimeout: 60_000 },
      },
      {
        extends: true,
        // real weights: says aloud when they cannot be had
        test: { ...heavy, name: 'models', include: realWeights },
      },
      {
        extends: true,
        // other software and other models: each test says aloud what it skips and why
        test: {
          ...heavy,
          name: 'consumers',
          include: ['test/models/**/*.test.ts'],
          exclude: [...realWeights, ...devices],
        },
      },
      {
        extends: true,
        // a graphics card, or a driver in software: `.ci/swiftshader`
        test: { ...heavy, name: 'devices', include: devices },
      },
    ],
  },
})
