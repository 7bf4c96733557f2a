import { countOf } from '../configValue.ts'
import { encoderClasses } from '../transformersClasses.ts'
import { bertLike } from './bert.ts'

const classes = {
  roberta: encoderClasses('roberta', 'Roberta'),
  'xlm-roberta': encoderClasses('xlm_roberta', 'XLMRoberta'),
  camembert: encoderClasses('camembert', 'Camembert'),
}

/** RoBERTa, XLM-RoBERTa, CamemBERT: BERT whose positions begin behind the padding id and do not count it. */
export const roberta = bertLike(classes, {
  prefix: 'roberta.',
  positions(config) {
    const padding = config['pad_token_id'] === 0 ? 0 : countOf(config, 'pad_token_id', 1)
    return { offset: padding + 1, uncounted: padding }
  },
  maskedHead: {
    dense: 'lm_head.dense',
    norm: 'lm_head.layer_norm',
    decoder: 'lm_head.decoder.weight',
    bias: 'lm_head.bias',
  },
  maskedActivation: () => 'gelu',
  rowClassifier: { dense: 'classifier.dense', output: 'classifier.out_proj' },
})
