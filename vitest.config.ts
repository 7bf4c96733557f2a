import { defineConfig } from 'vitest/config'

const results = process.env['CI_RESULTS']

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
          exclude: ['test/models/**', '**/node_modules/**'],
          testTimeout: 60_000,
        },
      },
      {
        extends: true,
        // real weights and other runtimes: each test says aloud what it skips and why
        test: {
          name: 'models',
          include: ['test/models/**/*.test.ts'],
          testTimeout: 1_200_000,
          hookTimeout: 1_200_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
