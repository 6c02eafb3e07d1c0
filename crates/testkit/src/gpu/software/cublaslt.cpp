// cuBLASLt in software: the functions that we call, with NVIDIA's names, types and numbers. Products are loops, on the stream;
// whatever NVIDIA's documentation asks of a caller is checked, and more: what we rely on has to be said, not left to a default.
//
// In the environment: SOFTWARE_CUBLASLT_VERSION.
#include "library.h"

namespace {

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77, R_32F = 0, R_16F = 2, R_16BF = 14 };
enum { INPLACE = 1, COMPUTE_TYPE = 2 };
const uint64_t MAGIC = 0x50f7a1;

struct Handle {
    int unused;
};
struct Operation {
    int compute = 0;
    int32_t transposed[2] = {0, 0};
};
struct Layout {
    int type = 0;
    uint64_t rows = 0, columns = 0;
    int64_t step = 0, batch_step = 0;
    int32_t batches = 1;
};
struct Preference {
    uint64_t workspace = 0;
    uint32_t schemes = INPLACE | COMPUTE_TYPE | 4, alignment[4] = {256, 256, 256, 256};
};
struct Algorithm {
    uint64_t magic, number, workspace, alignment, wrong, unused[3];
};
struct Recommended {
    Algorithm algorithm;
    size_t workspace;
    int status;
    float waves;
    int reserved[4];
};
static_assert(sizeof(Algorithm) == 64 && sizeof(Recommended) == 96, "as in cublasLt.h");

Live<Handle> handles{"handles", {}};
Live<Operation> operations{"operations", {}};
Live<Layout> layouts{"layouts", {}};
Live<Preference> preferences{"preferences", {}};

Number type_of(int type) { return type == R_32F ? Number::F32 : type == R_16F ? Number::F16 : Number::BF16; }
bool is_type(int type) { return type == R_32F || type == R_16F || type == R_16BF; }

template <class T> int set(T& to, const void* from, size_t bytes) {
    if (!from || bytes != sizeof(T)) {
        return INVALID_VALUE;
    }
    std::memcpy(&to, from, bytes);
    return SUCCESS;
}

// Bytes from the first element of a matrix, or of all of them, to the last.
size_t span(const Layout& l) {
    uint64_t elements = l.step * (l.columns - 1) + l.rows + l.batch_step * (l.batches - 1);
    return elements * bytes_of(type_of(l.type));
}

// Whether the descriptions fit each other.
bool fit(void* operation, void* a, void* b, void* c, void* d) {
    if (!operations.has(operation) || !layouts.has(a) || !layouts.has(b) || !layouts.has(c) || !layouts.has(d)) {
        return false;
    }
    auto& o = *static_cast<Operation*>(operation);
    auto &A = *static_cast<Layout*>(a), &B = *static_cast<Layout*>(b), &C = *static_cast<Layout*>(c), &D = *static_cast<Layout*>(d);
    uint64_t m = o.transposed[0] ? A.columns : A.rows, k = o.transposed[0] ? A.rows : A.columns;
    uint64_t n = o.transposed[1] ? B.rows : B.columns, same = o.transposed[1] ? B.columns : B.rows;
    bool sizes = D.rows == m && D.columns == n && k == same && C.rows == m && C.columns == n && C.step == D.step;
    bool types = A.type == B.type && C.type == D.type && (D.type == R_32F || D.type == A.type);
    bool tf32 = o.compute == COMPUTE_32F_FAST_TF32 && A.type == R_32F;
    bool batches = A.batches == B.batches && B.batches == C.batches && C.batches == D.batches;
    for (const Layout* l : {&A, &B, &D}) {
        batches = batches && (l->batches == 1 || l->batch_step >= int64_t(l->step * l->columns));
    }
    return sizes && types && batches && (tf32 || o.compute == COMPUTE_32F);
}

}  // namespace

extern "C" {

size_t cublasLtGetVersion() { return number("SOFTWARE_CUBLASLT_VERSION", 130102); }

const char* cublasLtGetStatusString(int status) {
    return status == INVALID_VALUE      ? "CUBLAS_STATUS_INVALID_VALUE"
           : status == NOT_SUPPORTED    ? "CUBLAS_STATUS_NOT_SUPPORTED"
           : status == EXECUTION_FAILED ? "CUBLAS_STATUS_EXECUTION_FAILED"
                                        : "CUBLAS_STATUS_NOT_INITIALIZED";
}

int cublasLtCreate(void** handle) {
    void* context = nullptr;
    if (fails("cublasLtCreate") || cuCtxGetCurrent(&context) != 0 || !context) {
        return NOT_INITIALIZED;
    }
    *handle = handles.make();
    return SUCCESS;
}

int cublasLtDestroy(void* handle) { return handles.drop(handle) ? SUCCESS : INVALID_VALUE; }

int cublasLtMatmulDescCreate(void** to, int compute, int scale) {
    if (scale != R_32F) {
        return INVALID_VALUE;
    }
    auto* made = operations.make();
    made->compute = compute;
    *to = made;
    return SUCCESS;
}

int cublasLtMatmulDescSetAttribute(void* it, int attribute, const void* from, size_t bytes) {
    if (!operations.has(it) || (attribute != 3 && attribute != 4)) {
        return INVALID_VALUE;
    }
    return set(static_cast<Operation*>(it)->transposed[attribute - 3], from, bytes);
}

int cublasLtMatmulDescDestroy(void* it) { return operations.drop(it) ? SUCCESS : INVALID_VALUE; }

int cublasLtMatrixLayoutCreate(void** to, int type, uint64_t rows, uint64_t columns, int64_t step) {
    if (!is_type(type) || rows == 0 || columns == 0 || step < int64_t(rows)) {
        return INVALID_VALUE;
    }
    auto* made = layouts.make();
    made->type = type, made->rows = rows, made->columns = columns, made->step = step;
    *to = made;
    return SUCCESS;
}

int cublasLtMatrixLayoutSetAttribute(void* it, int attribute, const void* from, size_t bytes) {
    if (!layouts.has(it)) {
        return INVALID_VALUE;
    }
    auto& l = *static_cast<Layout*>(it);
    return attribute == 5 ? set(l.batches, from, bytes) : attribute == 6 ? set(l.batch_step, from, bytes) : int(INVALID_VALUE);
}

int cublasLtMatrixLayoutDestroy(void* it) { return layouts.drop(it) ? SUCCESS : INVALID_VALUE; }

int cublasLtMatmulPreferenceCreate(void** to) {
    *to = preferences.make();
    return SUCCESS;
}

int cublasLtMatmulPreferenceSetAttribute(void* it, int attribute, const void* from, size_t bytes) {
    if (!preferences.has(it)) {
        return INVALID_VALUE;
    }
    auto& p = *static_cast<Preference*>(it);
    if (attribute >= 5 && attribute <= 8) {
        return set(p.alignment[attribute - 5], from, bytes);
    }
    return attribute == 1 ? set(p.workspace, from, bytes) : attribute == 3 ? set(p.schemes, from, bytes) : int(INVALID_VALUE);
}

int cublasLtMatmulPreferenceDestroy(void* it) { return preferences.drop(it) ? SUCCESS : INVALID_VALUE; }

// Among what is recommended is what a caller has to leave out (a status), and where a caller allows sums to be put together in
// place, what computes something else.
int cublasLtMatmulAlgoGetHeuristic(void* handle, void* operation, void* a, void* b, void* c, void* d, void* preference, int asked,
                                   Recommended* to, int* count) {
    if (!handles.has(handle) || !preferences.has(preference) || !fit(operation, a, b, c, d) || asked < 1) {
        return INVALID_VALUE;
    }
    auto& p = *static_cast<Preference*>(preference);
    *count = 0;
    auto add = [&](uint64_t workspace, int status, bool wrong) {
        if (*count < asked && (workspace <= p.workspace || status)) {
            uint64_t alignment = 1;
            for (uint32_t each : p.alignment) {
                alignment = std::max<uint64_t>(alignment, each);
            }
            Algorithm algorithm{MAGIC, uint64_t(*count), workspace, alignment, wrong, {}};
            to[(*count)++] = Recommended{algorithm, size_t(workspace), status, 1.0f, {}};
        }
    };
    add(0, NOT_SUPPORTED, true);
    add(0, SUCCESS, p.schemes & INPLACE);
    add(4096, SUCCESS, false);
    if (p.schemes & COMPUTE_TYPE) {
        add(1 << 20, SUCCESS, false);
    }
    return fails("cublasLtMatmulAlgoGetHeuristic") ? NOT_SUPPORTED : SUCCESS;
}

int cublasLtMatmul(void* handle, void* operation, const float* alpha, const void* a, void* of_a, const void* b, void* of_b,
                   const float* beta, const void* c, void* of_c, void* d, void* of_d, const Algorithm* algorithm, void* workspace,
                   size_t bytes, void* stream) {
    if (!handles.has(handle) || !fit(operation, of_a, of_b, of_c, of_d) || !algorithm || algorithm->magic != MAGIC) {
        return INVALID_VALUE;
    }
    auto o = *static_cast<Operation*>(operation);
    auto A = *static_cast<Layout*>(of_a), B = *static_cast<Layout*>(of_b), D = *static_cast<Layout*>(of_d);
    size_t aligned = algorithm->alignment;
    bool memory = good(a, span(A), aligned) && good(b, span(B), aligned) && good(d, span(D), aligned) && c == d;
    bool room = bytes >= algorithm->workspace && (bytes == 0 || good(workspace, bytes, 256));
    if (!memory || !room || !alpha || !beta || *alpha != 1.0f || *beta != 0.0f) {
        return INVALID_VALUE;
    }
    bool wrong = algorithm->wrong;
    size_t used = algorithm->workspace;
    auto work = [=] {
        auto* left = static_cast<const unsigned char*>(a);
        auto* right = static_cast<const unsigned char*>(b);
        uint64_t depth = o.transposed[0] ? A.rows : A.columns;
        for (int batch = 0; batch < D.batches; batch++) {
            for (uint64_t j = 0; j < D.columns; j++) {
                for (uint64_t i = 0; i < D.rows; i++) {
                    double sum = wrong ? 0.5 : 0.0;
                    for (uint64_t k = 0; k < depth; k++) {
                        uint64_t x = o.transposed[0] ? k + i * A.step : i + k * A.step;
                        uint64_t y = o.transposed[1] ? j + k * B.step : k + j * B.step;
                        sum += load(type_of(A.type), left, batch * A.batch_step + x) *
                               load(type_of(B.type), right, batch * B.batch_step + y);
                    }
                    store(type_of(D.type), static_cast<unsigned char*>(d), batch * D.batch_step + i + j * D.step, sum);
                }
            }
        }
        std::memset(workspace, 0x5a, used);
    };
    return fails("cublasLtMatmul") || put(stream, work) != 0 ? EXECUTION_FAILED : SUCCESS;
}
}
