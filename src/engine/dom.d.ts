// onnxruntime-common's declarations name browser types that Node does not have; none of them is used here.
declare type WebGLRenderingContext = {}
declare type WebGLTexture = {}
declare type ImageData = {}
declare type ImageBitmap = {}
declare type HTMLImageElement = {}
