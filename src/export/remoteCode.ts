import type { Architecture, BlockTable, StackTable } from '../model/architecture.ts'
import { dimensionsOf } from '../model/axes.ts'
import { autoClassesOf, classesOf, remoteClassName } from '../model/customConfig.ts'
import { outputRoles } from '../model/outputBias.ts'
import { stackSizes } from '../model/plan.ts'
import type { ModelConfig, StackName } from '../types.ts'

/**
 * The Python file that transformers loads with `trust_remote_code=True`: the family's own classes, in which a branch that
 * `config.block_layout` does not name is replaced by one that adds nothing, and the weights of narrower ones are cut. Its
 * forward passes stay the family's. What a block is made of is read off the architecture's weight tables.
 */
export function remoteCode(architecture: Architecture, config: ModelConfig): string {
  const classes = classesOf(architecture, config)
  const { module, attention } = classes
  const head = classes.head?.(config)
  const models = autoClassesOf(classes).map((auto) => [remoteClassName(auto), `${classes.models[auto]}`] as const)
  const stock = [...(attention?.imports ?? []), ...(head?.imports ?? []), ...models.map(([, name]) => name)]
  const headCounts = classes.headCounts ?? []
  const ownConfig = headCounts.some((name) => name.startsWith(inConfig))
  const headInputs = classes.headInputs?.(config) ?? []
  const tellsHeads = headCounts.length + headInputs.length > 0
  const parts = [
    `"""
${classes.models.AutoModel} with blocks left out, or with fewer heads or channels in some of them.

\`config.block_layout\` says for each layer of each stack which blocks it has: {"attention": {}, "mlp": {"channels": 40}}.
A block that is not named has no weights and adds nothing to the hidden state. "heads" are those of the dense model that
are left, "channels" is the number of them; where it is none, only the norm behind the block is left.
"""

import torch
from torch import nn
from transformers.models.${module}.configuration_${module} import ${classes.config}
from transformers.models.${module}.modeling_${module} import ${importList(stock)}

# Where the layers of a stack are, and what makes up a block of each kind, by names inside a layer: the module that is
# the branch, its last matrix, the modules before and behind it, the norm of the stream behind it, how many heads or channels
# it has that lost none (of grouped heads the groups), and for each weight that consists of them the dimension that counts them.
STACKS = ${python(stacksOf(architecture, config))}`,
    `class BlockPrunerConfig(${classes.config}):
    model_type = "blockpruner"${classes.configCode === undefined ? '' : `\n\n${classes.configCode}`}`,
    nothingClass,
    ...[attention, head].flatMap((part) => (part === undefined ? [] : [part.code(config)])),
    ...(ownConfig ? [ownConfigClass] : []),
    removeFunction(attention !== undefined),
    cutFunction,
    ...(tellsHeads ? [tellHeadsFunction(headCounts, headInputs)] : []),
    placesFunctions,
    pruneFunction(attention !== undefined, tellsHeads),
    ...models.map(
      ([name, base]) => `class ${name}(${base}):
    config_class = BlockPrunerConfig

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        prune(self)${head !== undefined && name !== 'BlockPrunerModel' ? '\n        self.lm_head.__class__ = Head' : ''}`,
    ),
  ]
  return `${parts.join('\n\n\n')}\n`
}

const nothingClass = `class Nothing(nn.Module):
    """In the place of a branch that was removed."""

    def __init__(self, is_attention):
        super().__init__()
        self.is_attention = is_attention
        self.counts_tokens = False

    def forward(self, hidden_states, residual=None, past_key_values=None, layer_past=None, **inputs):
        cache = layer_past if past_key_values is None else past_key_values
        if self.counts_tokens and cache is not None:
            # where no attention is left, positions still depend on how many tokens the cache has seen
            batch, length, _ = hidden_states.shape
            tokens = hidden_states.new_zeros(batch, 1, length, 1)
            getattr(cache, "self_attention_cache", cache).update(tokens, tokens, 0)
        # a branch that is handed the residual adds it itself
        output = torch.zeros_like(hidden_states) if residual is None else residual
        return (output, None) if self.is_attention else output`

const ownConfigClass = `class OwnConfig:
    """The config of the model, changes to come included, with some values of its own."""

    def __init__(self, shared, **values):
        self.__dict__.update(values, shared=shared)

    def __getattr__(self, name):
        if name == "shared":  # while it is being copied
            raise AttributeError(name)
        return getattr(self.shared, name)`

const removeFunction = (hasOwnAttention: boolean) => `def remove(layer, block, is_attention):
    """Lets the hidden state pass a branch as if it were not there."""
    nothing = Nothing(is_attention)
    ${
      hasOwnAttention
        ? `if is_attention:
        layer.get_submodule(block["branch"]).lose_heads(nothing)
    else:
        layer.set_submodule(block["branch"], nothing)`
        : 'layer.set_submodule(block["branch"], nothing)'
    }
    for path in block["around"]:
        layer.set_submodule(path, nn.Identity())
    return nothing`

const cutFunction = `def cut(layer, weights, dense, left):
    """Gives weights of \`dense\` units the shape that those with \`left\` units have."""
    for name, dimension in weights.items():
        path, _, parameter = name.rpartition(".")
        module = layer.get_submodule(path)
        whole = getattr(module, parameter)
        part = whole.detach().narrow(dimension, 0, whole.shape[dimension] // dense * left)
        setattr(module, parameter, nn.Parameter(part.clone()))
        if isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape
        else:  # Conv1D
            module.nx, module.nf = module.weight.shape`

/** Names of head counts that an attention reads from the config of the model begin with this. */
const inConfig = 'config.'

/** What a narrower attention must know beyond the shapes of its weights; for many families nothing. */
function tellHeadsFunction(counts: readonly string[], inputs: readonly string[]): string {
  const own = counts.filter((name) => !name.startsWith(inConfig))
  const configured = counts.filter((name) => name.startsWith(inConfig)).map((name) => name.slice(inConfig.length))
  const lines = [
    ...own.map((name) => `    attention.${name} = attention.${name} // dense * len(heads)\n`),
    ...configured.map(
      (name) => `    ${name} = attention.config.${name} // dense * len(heads)
    attention.config = OwnConfig(attention.config, ${name}=${name})\n`,
    ),
    ...(inputs.length === 0 ? [] : [selectHook(inputs)]),
  ]
  return `def tell_heads(attention, heads, dense):
    """Tells an attention that of \`dense\` heads it has only these."""
${lines.join('').trimEnd()}`
}

const selectHook = (inputs: readonly string[]) => `
    def select(_, args, inputs):
        # (B, H, ...) or (B H, ...): something for each query head
        for name in ${python(inputs)}:
            whole = inputs[name]
            groups = whole.reshape(len(args[0]), dense, -1, *whole.shape[-2:])[:, heads].flatten(1, 2)
            inputs[name] = groups if whole.dim() == 4 else groups.flatten(0, 1)
        return args, inputs

    attention.register_forward_pre_hook(select, with_kwargs=True)`

const placesFunctions = `def units_left(entry, dense):
    """The units that a block still has, given its entry in the layout: numbers of those of the dense model."""
    if entry is None:
        return []
    return entry.get("heads", list(range(entry.get("channels", dense))))


def cache_places(config, left):
    """
    The place of each layer's attention in the key/value cache, given the heads it has left; None where it has none.

    The k-th attention of a type (full, sliding) takes the k-th layer's place of that type. transformers reads the
    length of the cache from its first place, so that one must not stay empty because the first attention is gone.
    """
    types = getattr(config, "layer_types", None) or ["all"] * len(left)
    free = {kind: [i for i, other in enumerate(types) if other == kind] for kind in types}
    return [free[kind].pop(0) if heads else None for kind, heads in zip(types, left)]`

const pruneFunction = (hasOwnAttention: boolean, tellsHeads: boolean) => `def prune(model):
    """Takes from a model of the stock class what \`config.block_layout\` does not have."""
    config, prefix = model.config, model.base_model_prefix
    base = getattr(model, prefix, model)
    for stack, (path, kinds) in STACKS.items():
        layers, layout = base.get_submodule(path.removeprefix(f"{prefix}.")), config.block_layout[stack]
        for kind, block in kinds.items():
            is_attention = kind != "mlp"
            dense = block["units"]
            left = [units_left(has.get(kind), dense) for has in layout]
            places = cache_places(config, left) if is_attention else left
            removed = []
            for layer, has, units, place in zip(layers, layout, left, places):
                branch = layer.get_submodule(block["branch"])
                if is_attention:
                    branch.layer_idx = place${
                      hasOwnAttention
                        ? `
                    Attention.adopt(branch, units)`
                        : ''
                    }
                if not units:
                    removed.append(remove(layer, block, is_attention))
                elif len(units) < dense:
                    cut(layer, block["weights"], dense, len(units))${
                      tellsHeads
                        ? `
                    if is_attention:
                        tell_heads(branch, units, dense)`
                        : ''
                    }
                if has.get(kind, {}).get("bias"):
                    output = layer.get_submodule(block["output"])
                    output.bias = nn.Parameter(output.weight.new_zeros(len(output.weight)))
                if block["norm"] and kind not in has:
                    layer.set_submodule(block["norm"], nn.Identity())
            if (stack, kind) == ("decoder", "attention") and removed and not any(left):
                removed[0].counts_tokens = True`

/** For each stack the place of its layers and the parts of its blocks. */
function stacksOf(architecture: Architecture, config: ModelConfig): Readonly<Record<string, unknown>> {
  const sizes = architecture.sizes(config)
  return Object.fromEntries(
    (Object.entries(architecture.stacks) as [StackName, StackTable][]).map(([stack, table]) => {
      const dense = stackSizes({ architecture, config, sizes }, stack)
      const blocks = table.blocks.map((block) => [
        block.kind,
        { ...partsOf(block, table, config), units: dense[block.unit] },
      ])
      return [stack, [pathOfLayers(table, config), Object.fromEntries(blocks)]]
    }),
  )
}

function pathOfLayers({ blocks }: StackTable, config: ModelConfig): string {
  const [[name] = ['']] = Object.values(blocks[0]!.weights(config, 0))
  return name.slice(0, name.indexOf(marker))
}

/** Stands between the path of the layers and a name inside a layer. */
const marker = '.{layer}.'

function partsOf(block: BlockTable, table: StackTable, config: ModelConfig) {
  const weights = Object.entries(block.weights(config, 0)).map(([role, [name, axes]]) => {
    const inLayer = name.slice(name.indexOf(marker) + marker.length)
    return { role, name: inLayer, module: parentOf(inLayer), axes }
  })
  const first = weights.find(({ role }) => /^(qProj|upProj|gateProj)/.test(role))!.module
  // a branch without a module of its own begins with its first matrix
  const branch = parentOf(first) === '' ? first : parentOf(first)
  const others = table.blocks.filter((other) => other.kind !== block.kind).flatMap((other) => modulesOf(other, config))
  const outside = weights.filter(({ module }) => module !== branch && !module.startsWith(`${branch}.`))
  const around = outside.filter(({ role, module }) => !role.startsWith('outputNorm') && !others.includes(module))
  return {
    branch,
    output: weights.find(({ role }) => role === outputRoles[block.kind].matrix)!.module,
    around: [...new Set(around.map(({ module }) => module))],
    norm: outside.find(({ role }) => role === 'outputNorm')?.module,
    weights: Object.fromEntries(
      weights
        .map(({ name, axes }) => [name, dimensionsOf(axes, block.unit)[0]] as const)
        .filter(([, dimension]) => dimension !== undefined),
    ),
  }
}

/** Names of an import, each on a line of its own where they are many. */
function importList(names: readonly string[]): string {
  const sorted = [...names].sort()
  return sorted.length <= 3 ? sorted.join(', ') : `(\n${sorted.map((name) => `    ${name},\n`).join('')})`
}

function modulesOf(block: BlockTable, config: ModelConfig): string[] {
  return Object.values(block.weights(config, 0)).map(([name]) =>
    parentOf(name.slice(name.indexOf(marker) + marker.length)),
  )
}

function parentOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf('.')))
}

/** A value as Python source, objects one entry a line. */
function python(value: unknown, indent = ''): string {
  if (value === undefined) return 'None'
  if (Array.isArray(value) && value.length === 2 && typeof value[1] === 'object') {
    return `(${value.map((item) => python(item, indent)).join(', ')})`
  }
  if (Array.isArray(value)) return `[${value.map((item) => python(item, indent)).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const deeper = `${indent}    `
  const lines = Object.entries(value).map(
    ([key, item]) => `${deeper}${JSON.stringify(key)}: ${python(item, deeper)},\n`,
  )
  return `{\n${lines.join('')}${indent}}`
}
