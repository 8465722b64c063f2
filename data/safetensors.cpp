// The safetensors reader and writer. See safetensors.h for the format.
#include "data/safetensors.h"

#include <algorithm>  // sort
#include <bit>        // bit_cast, endian
#include <cfloat>     // FLT_MAX
#include <cmath>      // ldexp
#include <cstring>    // memcpy

#include "data/json.h"

namespace slim {

static_assert(std::endian::native == std::endian::little, "the file's byte order is the machine's");

namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the reference library's limit

struct Dtype {
    const char* name;
    int64_t bits;  // of one element
};

// In the reference library's order: a file has the last ones first, which keeps numbers aligned.
constexpr Dtype kDtypes[] = {
    {"BOOL", 8},    {"F4", 4},      {"U8", 8},          {"I8", 8},          {"F8_E5M2", 8},
    {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},       {"I32", 32},        {"U32", 32},
    {"F32", 32},    {"C64", 64},    {"F64", 64},        {"I64", 64},        {"U64", 64},
};

const Dtype* find_dtype(const std::string& name) {
    for (const Dtype& dtype : kDtypes)
        if (name == dtype.name) return &dtype;
    return nullptr;
}

// The bytes that a tensor of this type and shape has; throws when they cannot be counted.
int64_t byte_size(const std::string& dtype_name, const Shape& shape, const std::string& where) {
    const Dtype* dtype = find_dtype(dtype_name);
    check(dtype != nullptr, where, ": unknown dtype \"", dtype_name,
          "\"; known are F64, F32, F16, BF16, I64 to I8, U64 to U8, BOOL, C64, F4, and F8_ with ",
          "E4M3, E5M2, E8M0, E4M3FNUZ and E5M2FNUZ");
    int64_t bits = dtype->bits;
    for (int64_t n : shape)
        check(n >= 0 && !__builtin_mul_overflow(bits, n, &bits), where, ": impossible shape ",
              shape, ": dimensions are 0 or more, and their product must be countable");
    check(bits % 8 == 0, where, ": impossible shape ", shape, ": ", dtype_name,
          " has two elements in a byte, so there must be an even number of them");
    return bits / 8;
}

void check_bytes(const StoredTensor& tensor, const std::string& where) {
    const int64_t needed = byte_size(tensor.dtype, tensor.shape, where);
    check(int64_t(tensor.bytes.size()) == needed, where, ": has ", tensor.bytes.size(), " bytes; ",
          tensor.dtype, " of shape ", tensor.shape, " has ", needed);
}

// ---- numbers ------------------------------------------------------------------------------------

// 1 bit sign, 5 bits exponent, 10 bits fraction.
double from_half(uint16_t h) {
    const int exponent = h >> 10 & 31, fraction = h & 1023;
    const double magnitude = exponent == 0   ? std::ldexp(fraction, -24)
                             : exponent < 31 ? std::ldexp(1024 + fraction, exponent - 25)
                             : fraction == 0 ? HUGE_VAL
                                             : NAN;
    return h >> 15 ? -magnitude : magnitude;
}

// bfloat16 is the upper half of a float.
float from_bfloat16(uint16_t b) { return std::bit_cast<float>(uint32_t(b) << 16); }

template <class T>
T load(const Bytes& bytes, int64_t i) {  // the bytes need not be aligned
    T value;
    std::memcpy(&value, bytes.data() + i * int64_t(sizeof(T)), sizeof(T));
    return value;
}

// The nearest half, and of two that are equally near the even one. x is infinite, NaN, or at most
// 65504 in size.
uint16_t to_half(double x) {
    const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    const double size = std::fabs(x);
    if (std::isnan(x)) return 0x7e00;
    if (size < 0x1p-14) return sign | uint16_t(std::nearbyint(std::ldexp(size, 24)));
    if (std::isinf(x)) return sign | 0x7c00;
    int exponent;
    const double fraction = std::frexp(size, &exponent);  // in [0.5, 1)
    const double steps = std::nearbyint(std::ldexp(fraction, 11)) - 1024;  // may carry: 1024
    return sign | uint16_t(((exponent + 14) << 10) + int(steps));
}

uint16_t to_bfloat16(double x) {
    const uint32_t bits = std::bit_cast<uint32_t>(float(x));
    if (std::isnan(x)) return uint16_t(bits >> 16 | 0x40);
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <class T>
T to(double x) {
    return T(x);
}

// Converts each element. Throws if a finite one is larger than dtype's largest.
template <class T>
Bytes bytes_of(const Tensor& x, const std::string& dtype, double largest, T convert(double)) {
    Bytes bytes(size_t(x.size()) * sizeof(T));
    for (int64_t i = 0; i < x.size(); i++) {
        const double value = x.data()[i];
        check(std::isinf(value) || !(std::fabs(value) > largest), "store: element ", i, " is ",
              value, "; the largest number of ", dtype, " is ", largest);
        const T converted = convert(value);
        std::memcpy(bytes.data() + i * int64_t(sizeof(T)), &converted, sizeof(T));
    }
    return bytes;
}

// ---- the header ---------------------------------------------------------------------------------

// One entry of the header, and where its bytes are.
struct Place {
    std::string name;
    int64_t begin, end;
};

Place parse_entry(const std::string& name, const Json& entry, const std::string& file,
                  int64_t data_size, StoredTensor& out) {
    const std::string where = file + ": tensor " + name;
    out.dtype = entry.at("dtype", where).as_string(where + ": dtype");
    for (const Json& n : entry.at("shape", where).as_list(where + ": shape"))
        out.shape.push_back(n.as_int(where + ": shape"));
    const Json::List& offsets = entry.at("data_offsets", where).as_list(where + ": data_offsets");
    check(offsets.size() == 2, where, ": ", offsets.size(), " data_offsets; begin and end are 2");
    const int64_t begin = offsets[0].as_int(where + ": data_offsets");
    const int64_t end = offsets[1].as_int(where + ": data_offsets");
    check(begin >= 0 && begin <= end && end <= data_size, where, ": data_offsets ", begin, " to ",
          end, " of ", data_size, " bytes of data. hint: is the file cut off?");
    const int64_t needed = byte_size(out.dtype, out.shape, where);
    check(end - begin == needed, where, ": data_offsets ", begin, " to ", end, " are ", end - begin,
          " bytes; ", out.dtype, " of shape ", out.shape, " has ", needed);
    return {name, begin, end};
}

// Sorted by where they begin, the tensors must follow each other from the first byte to the last.
void check_places(std::vector<Place> places, int64_t data_size, const std::string& file) {
    std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
        return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    int64_t reached = 0;
    for (const Place& place : places) {
        check(place.begin == reached, file, ": tensor ", place.name, " begins at byte ",
              place.begin, " of the data, but those before it end at ", reached,
              place.begin < reached ? "; tensors may not overlap" : "; there may be no gaps");
        reached = place.end;
    }
    check(reached == data_size, file, ": the tensors end at byte ", reached, " of ", data_size,
          " bytes of data; there may be no gaps");
}

}  // namespace

// ---- from and to Tensors ------------------------------------------------------------------------

StoredTensor store(const Tensor& x, const std::string& dtype) {
    const Shape& shape = x.shape();
    if (dtype == "F64") return {dtype, shape, bytes_of(x, dtype, DBL_MAX, to<double>)};
    if (dtype == "F32") return {dtype, shape, bytes_of(x, dtype, FLT_MAX, to<float>)};
    if (dtype == "F16") return {dtype, shape, bytes_of(x, dtype, 65504, to_half)};
    if (dtype == "BF16") return {dtype, shape, bytes_of(x, dtype, 0x1.fep127, to_bfloat16)};
    fail("store: got ", dtype, "; it must be F64, F32, F16 or BF16");
}

StoredTensor store(const std::vector<int64_t>& integers) {
    Bytes bytes(integers.size() * sizeof(int64_t));
    if (!integers.empty()) std::memcpy(bytes.data(), integers.data(), bytes.size());
    return {"I64", {int64_t(integers.size())}, bytes};
}

const StoredTensor& TensorFile::stored(const std::string& name) const {
    const auto found = tensors.find(name);
    if (found == tensors.end()) fail(path, ": there is no tensor named ", name, " in it");
    return found->second;
}

Tensor TensorFile::tensor(const std::string& name) const {
    const std::string where = path + ": tensor " + name;
    check_bytes(stored(name), where);
    const std::string& dtype = stored(name).dtype;
    const Bytes& bytes = stored(name).bytes;
    Tensor x(stored(name).shape);
    real* out = x.mutable_data();
    const auto fill = [&](auto number) {
        for (int64_t i = 0; i < x.size(); i++) out[i] = real(number(i));
    };
    if (dtype == "F32") fill([&](int64_t i) { return load<float>(bytes, i); });
    else if (dtype == "F64") fill([&](int64_t i) { return load<double>(bytes, i); });
    else if (dtype == "F16") fill([&](int64_t i) { return from_half(load<uint16_t>(bytes, i)); });
    else if (dtype == "BF16")
        fill([&](int64_t i) { return from_bfloat16(load<uint16_t>(bytes, i)); });
    else fail(where, ": is of dtype ", dtype, "; F32, F64, F16 or BF16 can become a Tensor");
    return x;
}

std::vector<int64_t> TensorFile::integers(const std::string& name) const {
    const std::string where = path + ": tensor " + name;
    const auto& [dtype, shape, bytes] = stored(name);
    check_bytes(stored(name), where);
    check(dtype == "I64", where, ": is of dtype ", dtype, "; it must be I64");
    const int64_t size = int64_t(bytes.size() / sizeof(int64_t));
    std::vector<int64_t> values;
    for (int64_t i = 0; i < size; i++) values.push_back(load<int64_t>(bytes, i));
    return values;
}

// ---- files --------------------------------------------------------------------------------------

TensorFile parse_safetensors(std::span<const uint8_t> bytes, const std::string& name) {
    check(bytes.size() >= 8, name, ": not a safetensors file: ", bytes.size(),
          " bytes; the length of the header alone has 8", looks_like(bytes));
    uint64_t header_size;
    std::memcpy(&header_size, bytes.data(), 8);
    const std::span<const uint8_t> rest = bytes.subspan(8);
    check(header_size <= kMaxHeader, name, ": not a safetensors file: it begins with a header ",
          "length of ", header_size, "; at most ", kMaxHeader, " is allowed", looks_like(bytes));
    check(header_size <= rest.size(), name, ": truncated: a header of ", header_size,
          " bytes is announced, and ", rest.size(), " bytes follow. hint: fetch the file again");

    const std::string_view header = as_text(rest.first(header_size));
    check(header.starts_with('{'), name, ": the header does not begin with {");
    const std::span<const uint8_t> data = rest.subspan(header_size);
    const int64_t data_size = int64_t(data.size());

    TensorFile file;
    file.path = name;
    std::vector<Place> places;
    const Json json = parse_json(header, name + ": header");
    for (const auto& [key, entry] : json.as_object(name)) {
        if (key == "__metadata__") {
            const std::string where = name + ": __metadata__";
            for (const auto& [item, text] : entry.as_object(where))
                file.metadata[item] = text.as_string(where + ": " + item);
            continue;
        }
        places.push_back(parse_entry(key, entry, name, data_size, file.tensors[key]));
    }
    check_places(places, data_size, name);
    // Only now is it certain that the tensors together are no larger than the file.
    for (const Place& place : places) {
        const auto from = data.subspan(size_t(place.begin), size_t(place.end - place.begin));
        file.tensors[place.name].bytes.assign(from.begin(), from.end());
    }
    return file;
}

TensorFile read_safetensors(const std::string& path) {
    return parse_safetensors(read_file(path), path);
}

void write_safetensors(const std::string& path, const TensorFile& file) {
    std::string header;
    write_file(path, safetensors_pieces(path, file, header));
}

std::vector<std::string_view> safetensors_pieces(const std::string& path, const TensorFile& file,
                                                 std::string& header) {
    // The widest types first, so that all are aligned; names in order.
    std::vector<const std::pair<const std::string, StoredTensor>*> order;
    for (const auto& entry : file.tensors) {
        const auto& [name, tensor] = entry;
        check_bytes(tensor, path + ": tensor " + name);
        check(name != "__metadata__", path, ": a tensor cannot be named __metadata__");
        order.push_back(&entry);
    }
    std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
        return find_dtype(a->second.dtype) > find_dtype(b->second.dtype);
    });

    header = "{";
    if (!file.metadata.empty()) {
        header += R"("__metadata__":)";
        header += Json(Json::Object(file.metadata.begin(), file.metadata.end())).dump(-1);
    }
    std::vector<std::string_view> pieces = {""};  // the header, see below
    int64_t begin = 0;
    for (const auto* entry : order) {
        const auto& [name, tensor] = *entry;
        const int64_t end = begin + int64_t(tensor.bytes.size());
        const Json shape = Json::List(tensor.shape.begin(), tensor.shape.end());
        const Json offsets = Json::List{begin, end};
        if (header.size() > 1) header += ",";
        header += Json(name).dump(-1) + R"(:{"dtype":")" + tensor.dtype + R"(","shape":)" +
                  shape.dump(-1) + R"(,"data_offsets":)" + offsets.dump(-1) + "}";
        pieces.push_back(as_text(tensor.bytes));
        begin = end;
    }
    header += "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');

    const uint64_t length = header.size();
    header.insert(0, reinterpret_cast<const char*>(&length), 8);
    pieces[0] = header;
    return pieces;
}

}  // namespace slim
