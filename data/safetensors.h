// safetensors, the file format of Hugging Face for named tensors:
//
//     8 bytes    the length h of the header, little-endian
//     h bytes    JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...},
//                and optionally "__metadata__": texts by name
//     the rest   the elements, little-endian and row-major, tensor after tensor without gaps
//
// A file can hold types that a Tensor cannot (integers, 16-bit floats), so files are read and
// written as StoredTensors. store() and TensorFile::tensor() convert from and to Tensors.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "data/file.h"

namespace slim {

// The dtype of store() by default: what this build computes with.
constexpr const char* kRealDtype = sizeof(real) == 8 ? "F64" : "F32";

struct StoredTensor {
    std::string dtype;  // F64 F32 F16 BF16, I64 I32 I16 I8, U64 U32 U16 U8, BOOL, C64, F8_*, F4
    Shape shape;
    Bytes bytes;  // as many as shape and dtype need
};

// Returns x as F64, F32, F16 or BF16, rounded to nearest even. Throws if a finite element is too
// large for the type.
StoredTensor store(const Tensor& x, const std::string& dtype = kRealDtype);
StoredTensor store(const std::vector<int64_t>& integers);                    // I64, shape (n)

struct TensorFile {
    std::map<std::string, StoredTensor> tensors;
    std::map<std::string, std::string> metadata;
    std::string path;  // for messages; set by the reader

    // A tensor of the file, converted; throws when it is not there or of another kind.
    Tensor tensor(const std::string& name) const;                  // F64, F32, F16 or BF16
    std::vector<int64_t> integers(const std::string& name) const;  // I64
    const StoredTensor& stored(const std::string& name) const;
};

// Checks every type, size and offset before it is used; a damaged file is an error. Names and
// elements come back exactly as they were written.
TensorFile read_safetensors(const std::string& path);
TensorFile parse_safetensors(std::span<const uint8_t> bytes, const std::string& name);

// Writes, byte for byte, what the reference library writes. PEFT wants metadata {"format": "pt"}.
void write_safetensors(const std::string& path, const TensorFile& file);

// Returns the content as pieces for write_files(). They point into `header`, which is filled here,
// and into `file`: both must outlive them.
std::vector<std::string_view> safetensors_pieces(const std::string& path, const TensorFile& file,
                                                 std::string& header);

}  // namespace slim
