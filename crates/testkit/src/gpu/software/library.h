// What both libraries in software need: the driver, numbers of 16 bits, what is counted. A library puts what it computes on the
// stream as a function of the host's, so that it runs in order and can be captured, as kernels are.
//
// In the environment: SOFTWARE_LIBRARY_FAULT, the function that fails, or "capture" for whatever is captured.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

extern "C" {
int cuCtxGetCurrent(void** context);
int cuMemGetAddressRange_v2(unsigned long long* base, size_t* bytes, unsigned long long address);
int cuStreamIsCapturing(void* stream, int* capturing);
int cuLaunchHostFunc(void* stream, void (*run)(void*), void* data);
}

namespace {

// Types of elements, by bytes and conversion.
enum class Number { F32, F16, BF16 };

inline size_t bytes_of(Number n) { return n == Number::F32 ? 4 : 2; }

inline float from_half(uint16_t h) {
    int exponent = h >> 10 & 31, fraction = h & 1023;
    float size = exponent == 31 ? (fraction ? NAN : INFINITY)
                 : exponent     ? std::ldexp(float(1024 + fraction), exponent - 25)
                                : std::ldexp(float(fraction), -24);
    return h >> 15 ? -size : size;
}

inline uint16_t to_half(float x) {
    uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    float size = std::fabs(x);
    if (std::isnan(x)) {
        return 0x7e00;
    }
    if (size >= 65520.0f) {
        return sign | 0x7c00;
    }
    int exponent = size < std::ldexp(1.0f, -14) ? -14 : std::ilogb(size);
    int units = int(std::nearbyint(std::ldexp(size, 10 - exponent)));
    return sign | uint16_t(((exponent + 14) << 10) + units);
}

inline double load(Number n, const unsigned char* at, size_t i) {
    if (n == Number::F32) {
        float x;
        std::memcpy(&x, at + 4 * i, 4);
        return x;
    }
    uint16_t h;
    std::memcpy(&h, at + 2 * i, 2);
    if (n == Number::F16) {
        return from_half(h);
    }
    uint32_t bits = uint32_t(h) << 16;
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

inline void store(Number n, unsigned char* at, size_t i, double sum) {
    float x = float(sum);
    if (n == Number::F32) {
        std::memcpy(at + 4 * i, &x, 4);
        return;
    }
    uint16_t h = to_half(x);
    if (n == Number::BF16) {
        uint32_t bits;
        std::memcpy(&bits, &x, 4);
        h = uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
    std::memcpy(at + 2 * i, &h, 2);
}

// Whether so many bytes from an address on are memory of the GPU's, and the address is a multiple of that.
inline bool good(const void* start, size_t bytes, size_t alignment) {
    auto address = reinterpret_cast<unsigned long long>(start);
    unsigned long long base = 0;
    size_t size = 0;
    return address % alignment == 0 && cuMemGetAddressRange_v2(&base, &size, address) == 0 && address + bytes <= base + size;
}

inline bool fails(const char* function) {
    const char* fault = std::getenv("SOFTWARE_LIBRARY_FAULT");
    return fault && std::strcmp(fault, function) == 0;
}

inline size_t number(const char* name, size_t otherwise) {
    const char* text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

// Puts a function on a stream; 0 if it is there. What graphs hold of it may run again and again, so it stays.
inline int put(void* stream, std::function<void()> work) {
    int capturing = 0;
    if (cuStreamIsCapturing(stream, &capturing) != 0 || (capturing && fails("capture"))) {
        return 1;
    }
    static std::vector<std::unique_ptr<std::function<void()>>> all;
    all.push_back(std::make_unique<std::function<void()>>(std::move(work)));
    return cuLaunchHostFunc(stream, [](void* f) { (*static_cast<std::function<void()>*>(f))(); }, all.back().get());
}

// Things of one kind that were made and not given back. At the end there are none.
template <class T> struct Live {
    const char* what;
    std::set<T*> all;
    T* make() {
        T* made = new T;
        all.insert(made);
        return made;
    }
    bool has(void* it) const { return all.count(static_cast<T*>(it)) == 1; }
    bool drop(void* it) {
        auto* made = static_cast<T*>(it);
        if (!all.erase(made)) {
            return false;
        }
        delete made;
        return true;
    }
    ~Live() {
        if (!all.empty()) {
            std::fprintf(stderr, "software library: %zu of %s were not given back\n", all.size(), what);
            std::_Exit(9);
        }
    }
};

}  // namespace
