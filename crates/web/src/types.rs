//! The types of what methods take and return, for TypeScript.

use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r"
/** A tensor of a model, of one example. */
export interface TensorInfo { name: string; shape: number[]; dtype: string; }
export type Numbers = Float32Array | Uint8Array | Uint8ClampedArray | Int32Array | Uint32Array | number[];
/** What a model made of all examples; `shape` begins with their number. */
export interface Output { name: string; data: Float32Array | Uint8Array | Int32Array | Uint32Array; shape: number[]; }
/** `ImageData`, or what looks like it: RGBA, row by row. */
export interface Pixels { data: Uint8ClampedArray | Uint8Array; width: number; height: number; }
/** `probability` where the model's scores are probabilities, else `score`. */
export interface ClassScore { className: string; index: number; probability?: number; score?: number; }
/** `bbox` is left, top, width and height in pixels of the picture. */
export interface Detection { class: string; index: number; score: number; bbox: [number, number, number, number]; }
";
