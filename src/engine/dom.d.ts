// onnxruntime-common's declarations name browser types that Node does not have; none of them is used here.
declare type WebGLRenderingContext = unknown
declare type WebGLTexture = unknown
declare type ImageData = unknown
declare type ImageBitmap = unknown
declare type HTMLImageElement = unknown
