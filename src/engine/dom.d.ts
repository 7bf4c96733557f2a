// onnxruntime-common's declarations name browser types that Node does not have; none of them is used here.
declare interface WebGLRenderingContext {}
declare interface WebGLTexture {}
declare interface ImageData {}
declare interface ImageBitmap {}
declare interface HTMLImageElement {}
