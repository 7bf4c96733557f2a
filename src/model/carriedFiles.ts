/**
 * Which files of a model's repository belong to it beside config.json and the weights that are read, and so go with every export: all but
 * those named here. The card is among them, for what a new card says of the dense model.
 */

/** Weights, ours or in another format, and what says where they are. */
const weights =
  /\.(safetensors|bin|pt|pth|ckpt|pkl|h5|msgpack|onnx|onnx_data(_\d+)?|gguf|ggml|ot|tflite|npz|npy|pte|mlmodel)$|\.index\.json$/i

const left: readonly RegExp[] = [
  weights,
  // written anew
  /^config\.json$/,
  // no part of a repository, or kept from sight: .gitattributes, .env
  /(^|\/)\./,
  // about the training of the dense model
  /(^|\/)(trainer_state|training_args|\w+_results)\.json$|(^|\/)events\.out|^(runs|wandb|logs)\//,
  // a run of this package
  /^(plan|curve)\.json$/,
  // data, pictures and pages
  /\.(csv|tsv|parquet|arrow|jsonl|log|png|jpe?g|gif|svg|webp|pdf|ipynb|html|zip|gz|tar|7z)$/i,
  /^(?!(LICEN[CS]E|NOTICE|COPYING|README\.md$)).*\.md$/i,
  // code of a model, which an export has of its own; that of a tokenizer or processor stays
  /^(?!(tokenization|processing|image_processing|feature_extraction)_).*\.pyc?$/,
]

/** sentence-transformers' modules behind the encoder: `1_Pooling`, `2_Dense` with weights of its own. */
const moduleFolder = /^\d+_[A-Za-z]\w*\//

/** Those of `paths`, each with `/` between folders, that are carried along. A folder that holds another model stays behind as a whole. */
export function carriedPaths(paths: readonly string[]): string[] {
  const isElsewhere = (path: string) => path.includes('/') && !moduleFolder.test(path)
  const isOfModel = (path: string) => weights.test(path) || /\/(config\.json|journal\.jsonl)$/.test(path)
  const folderOf = (path: string) => path.split('/', 1)[0]!
  const others = new Set(paths.filter((path) => isElsewhere(path) && isOfModel(path)).map(folderOf))
  return paths
    .filter((path) => !(isElsewhere(path) && others.has(folderOf(path))))
    .filter((path) => (moduleFolder.test(path) ? !/\/\./.test(path) : !left.some((pattern) => pattern.test(path))))
    .toSorted()
}
