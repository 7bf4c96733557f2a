import protobuf from 'protobufjs'

/** onnx.proto is proto2, whose numbers stand one by one; readers take both forms, byte-exact comparisons do not. */
const unpacked = { packed: false }

/**
 * The messages of onnx.proto that our graphs use, with the field numbers of the ONNX specification (IR version 10).
 * Absent messages (functions, training, sparse tensors) are never written by us.
 */
const messages = {
  ModelProto: {
    fields: {
      irVersion: { id: 1, type: 'int64' },
      producerName: { id: 2, type: 'string' },
      producerVersion: { id: 3, type: 'string' },
      graph: { id: 7, type: 'GraphProto' },
      opsetImport: { id: 8, rule: 'repeated', type: 'OperatorSetIdProto' },
      metadataProps: { id: 14, rule: 'repeated', type: 'StringStringEntryProto' },
    },
  },
  OperatorSetIdProto: { fields: { domain: { id: 1, type: 'string' }, version: { id: 2, type: 'int64' } } },
  StringStringEntryProto: { fields: { key: { id: 1, type: 'string' }, value: { id: 2, type: 'string' } } },
  GraphProto: {
    fields: {
      node: { id: 1, rule: 'repeated', type: 'NodeProto' },
      name: { id: 2, type: 'string' },
      initializer: { id: 5, rule: 'repeated', type: 'TensorProto' },
      input: { id: 11, rule: 'repeated', type: 'ValueInfoProto' },
      output: { id: 12, rule: 'repeated', type: 'ValueInfoProto' },
    },
  },
  NodeProto: {
    fields: {
      input: { id: 1, rule: 'repeated', type: 'string' },
      output: { id: 2, rule: 'repeated', type: 'string' },
      name: { id: 3, type: 'string' },
      opType: { id: 4, type: 'string' },
      attribute: { id: 5, rule: 'repeated', type: 'AttributeProto' },
      domain: { id: 7, type: 'string' },
    },
  },
  AttributeProto: {
    fields: {
      name: { id: 1, type: 'string' },
      f: { id: 2, type: 'float' },
      i: { id: 3, type: 'int64' },
      s: { id: 4, type: 'bytes' },
      floats: { id: 7, rule: 'repeated', type: 'float', options: unpacked },
      ints: { id: 8, rule: 'repeated', type: 'int64', options: unpacked },
      type: { id: 20, type: 'int32' },
    },
  },
  TensorProto: {
    fields: {
      dims: { id: 1, rule: 'repeated', type: 'int64', options: unpacked },
      dataType: { id: 2, type: 'int32' },
      name: { id: 8, type: 'string' },
      rawData: { id: 9, type: 'bytes' },
      externalData: { id: 13, rule: 'repeated', type: 'StringStringEntryProto' },
      dataLocation: { id: 14, type: 'int32' },
    },
  },
  ValueInfoProto: { fields: { name: { id: 1, type: 'string' }, type: { id: 2, type: 'TypeProto' } } },
  TypeProto: { fields: { tensorType: { id: 1, type: 'TensorTypeProto' } } },
  TensorTypeProto: { fields: { elemType: { id: 1, type: 'int32' }, shape: { id: 2, type: 'TensorShapeProto' } } },
  TensorShapeProto: { fields: { dim: { id: 1, rule: 'repeated', type: 'DimensionProto' } } },
  DimensionProto: { fields: { dimValue: { id: 1, type: 'int64' }, dimParam: { id: 2, type: 'string' } } },
}

/** Looks up a message type of the ONNX schema. */
export const onnxSchema = protobuf.Root.fromJSON({ nested: messages })
