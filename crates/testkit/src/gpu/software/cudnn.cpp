// cuDNN in software: the functions of version 9 that we call, with NVIDIA's names, types and numbers. Convolutions are loops, on
// the stream. Images are NHWC and filters KRSC; of algorithms there are those that cuDNN has for them and that give the same bits
// every time.
//
// In the environment: SOFTWARE_CUDNN_VERSION; SOFTWARE_CUDNN_WORKSPACE, bytes that every algorithm needs.
#include "library.h"
#include <dlfcn.h>

namespace {

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1001, BAD_PARAM = 2000, NOT_SUPPORTED = 3000, EXECUTION_FAILED = 5000 };
enum { NHWC = 1, FLOAT = 0, HALF = 2, BFLOAT16 = 9, CROSS_CORRELATION = 1, TENSOR_OP_MATH = 1, FMA_MATH = 3 };

struct Handle {
    void* stream = nullptr;
};
// Of a tensor n, c, h, w; of a filter k, c / groups, rows, columns.
struct Shape {
    int type = -1, of[4] = {0, 0, 0, 0};
    size_t count() const { return size_t(of[0]) * of[1] * of[2] * of[3]; }
};
struct Tensor : Shape {};
struct Filter : Shape {};
struct Convolution {
    int pad[2], stride[2], dilation[2], compute = -1, groups = 0, math = -1;
};

Live<Handle> handles{"handles", {}};
Live<Tensor> tensors{"tensors", {}};
Live<Filter> filters{"filters", {}};
Live<Convolution> convolutions{"convolutions", {}};

Number type_of(int type) { return type == FLOAT ? Number::F32 : type == HALF ? Number::F16 : Number::BF16; }

int set(Shape& shape, int format, int type, const int (&of)[4]) {
    bool known = type == FLOAT || type == HALF || type == BFLOAT16;
    if (format != NHWC || !known) {
        return BAD_PARAM;
    }
    for (int i = 0; i < 4; i++) {
        if (of[i] < 1) {
            return BAD_PARAM;
        }
        shape.of[i] = of[i];
    }
    shape.type = type;
    return SUCCESS;
}

// What a call is about, if its descriptions fit each other.
struct Problem {
    Tensor x, y;
    Filter w;
    Convolution c;
};

bool whole(void* handle, void* x, void* w, void* c, void* y, Problem& to) {
    if (!handles.has(handle) || !static_cast<Handle*>(handle)->stream || !tensors.has(x) || !tensors.has(y) || !filters.has(w) ||
        !convolutions.has(c)) {
        return false;
    }
    to = {*static_cast<Tensor*>(x), *static_cast<Tensor*>(y), *static_cast<Filter*>(w), *static_cast<Convolution*>(c)};
    bool set = to.x.type >= 0 && to.w.type == to.x.type && to.y.type == to.x.type && to.c.compute == FLOAT && to.c.groups > 0;
    // Everything was said, and f32 is not rounded unless somebody wants it to be.
    bool math = to.c.math == FMA_MATH ? to.x.type == FLOAT : to.c.math == TENSOR_OP_MATH;
    bool channels = to.w.of[1] * to.c.groups == to.x.of[1] && to.w.of[0] == to.y.of[1] && to.w.of[0] % to.c.groups == 0;
    bool sizes = to.x.of[0] == to.y.of[0];
    for (int i = 0; i < 2; i++) {
        int padded = to.x.of[2 + i] + 2 * to.c.pad[i], reach = to.c.dilation[i] * (to.w.of[2 + i] - 1) + 1;
        sizes = sizes && padded >= reach && (padded - reach) / to.c.stride[i] + 1 == to.y.of[2 + i];
    }
    return set && math && channels && sizes;
}

size_t need(int algorithm) { return number("SOFTWARE_CUDNN_WORKSPACE", algorithm == 0 ? 0 : 8192); }

int ask(bool fits, bool known, int algorithm, size_t* bytes) {
    if (!fits || !bytes) {
        return BAD_PARAM;
    }
    *bytes = need(algorithm);
    return known && !fails("workspace") ? SUCCESS : NOT_SUPPORTED;
}

// Calls f(image, filter, output) for every multiplication.
template <class F> void each(const Problem& p, F f) {
    int channels = p.w.of[1], of_group = p.w.of[0] / p.c.groups;
    for (int n = 0; n < p.y.of[0]; n++)
        for (int oy = 0; oy < p.y.of[2]; oy++)
            for (int ox = 0; ox < p.y.of[3]; ox++)
                for (int k = 0; k < p.w.of[0]; k++)
                    for (int r = 0; r < p.w.of[2]; r++)
                        for (int s = 0; s < p.w.of[3]; s++) {
                            int y = oy * p.c.stride[0] + r * p.c.dilation[0] - p.c.pad[0];
                            int x = ox * p.c.stride[1] + s * p.c.dilation[1] - p.c.pad[1];
                            if (y < 0 || x < 0 || y >= p.x.of[2] || x >= p.x.of[3]) {
                                continue;
                            }
                            for (int c = 0; c < channels; c++) {
                                size_t image = ((size_t(n) * p.x.of[2] + y) * p.x.of[3] + x) * p.x.of[1] + k / of_group * channels + c;
                                size_t filter = ((size_t(k) * p.w.of[2] + r) * p.w.of[3] + s) * channels + c;
                                f(image, filter, ((size_t(n) * p.y.of[2] + oy) * p.y.of[3] + ox) * p.y.of[1] + k);
                            }
                        }
}

// Checks what is given and puts sums of such multiplications on the stream.
template <class Term>
int run(void* handle, const Problem& p, const Shape& of_a, const void* a, const Shape& of_b, const void* b, const Shape& of_to, void* to,
        const float* alpha, const float* beta, int algorithm, void* workspace, size_t bytes, Term term) {
    size_t size = bytes_of(type_of(p.x.type));
    bool memory = good(a, of_a.count() * size, 16) && good(b, of_b.count() * size, 16) && good(to, of_to.count() * size, 16);
    bool room = bytes >= need(algorithm) && (bytes == 0 || good(workspace, bytes, 16));
    if (!memory || !room || !alpha || !beta || *alpha != 1.0f || *beta != 0.0f) {
        return BAD_PARAM;
    }
    auto* left = static_cast<const unsigned char*>(a);
    auto* right = static_cast<const unsigned char*>(b);
    size_t count = of_to.count();
    auto work = [=] {
        Number type = type_of(p.x.type);
        std::vector<double> sums(count);
        each(p, [&](size_t image, size_t filter, size_t output) {
            size_t at[3];
            term(image, filter, output, at);
            sums[at[2]] += load(type, left, at[0]) * load(type, right, at[1]);
        });
        for (size_t i = 0; i < count; i++) {
            store(type, static_cast<unsigned char*>(to), i, sums[i]);
        }
        std::memset(workspace, 0x5a, bytes);
    };
    return put(static_cast<Handle*>(handle)->stream, work) == 0 ? SUCCESS : EXECUTION_FAILED;
}

}  // namespace

extern "C" {

// Opens its parts first, as NVIDIA's does, which ends the process where one is not found.
size_t cudnnGetVersion() {
    for (const char* part : {"libcudnn_graph.so.9", "libcudnn_ops.so.9", "libcudnn_cnn.so.9"}) {
        if (!dlopen(part, RTLD_NOW)) {
            std::fprintf(stderr, "software cuDNN: %s\n", dlerror());
            std::abort();
        }
    }
    return number("SOFTWARE_CUDNN_VERSION", 92801);
}
size_t cudnnGetCudartVersion() { return 13000; }

const char* cudnnGetErrorString(int status) {
    return status == BAD_PARAM          ? "CUDNN_STATUS_BAD_PARAM"
           : status == NOT_SUPPORTED    ? "CUDNN_STATUS_NOT_SUPPORTED"
           : status == EXECUTION_FAILED ? "CUDNN_STATUS_EXECUTION_FAILED"
                                        : "CUDNN_STATUS_NOT_INITIALIZED";
}

int cudnnCreate(void** handle) {
    void* context = nullptr;
    if (fails("cudnnCreate") || cuCtxGetCurrent(&context) != 0 || !context) {
        return NOT_INITIALIZED;
    }
    *handle = handles.make();
    return SUCCESS;
}

int cudnnDestroy(void* handle) { return handles.drop(handle) ? SUCCESS : BAD_PARAM; }

int cudnnSetStream(void* handle, void* stream) {
    if (!handles.has(handle)) {
        return BAD_PARAM;
    }
    static_cast<Handle*>(handle)->stream = stream;
    return SUCCESS;
}

int cudnnCreateTensorDescriptor(void** to) {
    *to = tensors.make();
    return SUCCESS;
}

int cudnnSetTensor4dDescriptor(void* it, int format, int type, int n, int c, int h, int w) {
    return tensors.has(it) ? set(*static_cast<Tensor*>(it), format, type, {n, c, h, w}) : int(BAD_PARAM);
}

int cudnnDestroyTensorDescriptor(void* it) { return tensors.drop(it) ? SUCCESS : BAD_PARAM; }

int cudnnCreateFilterDescriptor(void** to) {
    *to = filters.make();
    return SUCCESS;
}

int cudnnSetFilter4dDescriptor(void* it, int type, int format, int k, int c, int h, int w) {
    return filters.has(it) ? set(*static_cast<Filter*>(it), format, type, {k, c, h, w}) : int(BAD_PARAM);
}

int cudnnDestroyFilterDescriptor(void* it) { return filters.drop(it) ? SUCCESS : BAD_PARAM; }

int cudnnCreateConvolutionDescriptor(void** to) {
    *to = convolutions.make();
    return SUCCESS;
}

int cudnnSetConvolution2dDescriptor(void* it, int pad_h, int pad_w, int u, int v, int dilation_h, int dilation_w, int mode, int compute) {
    bool sizes = pad_h >= 0 && pad_w >= 0 && u > 0 && v > 0 && dilation_h > 0 && dilation_w > 0;
    if (!convolutions.has(it) || !sizes || mode != CROSS_CORRELATION) {
        return BAD_PARAM;
    }
    auto& c = *static_cast<Convolution*>(it);
    c = Convolution{{pad_h, pad_w}, {u, v}, {dilation_h, dilation_w}, compute, c.groups, c.math};
    return SUCCESS;
}

int cudnnSetConvolutionGroupCount(void* it, int groups) {
    if (!convolutions.has(it) || groups < 1) {
        return BAD_PARAM;
    }
    static_cast<Convolution*>(it)->groups = groups;
    return SUCCESS;
}

int cudnnSetConvolutionMathType(void* it, int math) {
    if (!convolutions.has(it)) {
        return BAD_PARAM;
    }
    static_cast<Convolution*>(it)->math = math;
    return SUCCESS;
}

int cudnnDestroyConvolutionDescriptor(void* it) { return convolutions.drop(it) ? SUCCESS : BAD_PARAM; }

int cudnnGetConvolutionForwardWorkspaceSize(void* handle, void* x, void* w, void* c, void* y, int algorithm, size_t* bytes) {
    Problem p;
    return ask(whole(handle, x, w, c, y, p), algorithm == 0 || algorithm == 1, algorithm, bytes);
}

int cudnnGetConvolutionBackwardDataWorkspaceSize(void* handle, void* w, void* dy, void* c, void* dx, int algorithm, size_t* bytes) {
    Problem p;
    return ask(whole(handle, dx, w, c, dy, p), algorithm == 1, algorithm, bytes);
}

int cudnnGetConvolutionBackwardFilterWorkspaceSize(void* handle, void* x, void* dy, void* c, void* dw, int algorithm, size_t* bytes) {
    Problem p;
    return ask(whole(handle, x, dw, c, dy, p), algorithm == 1, algorithm, bytes);
}

int cudnnConvolutionForward(void* handle, const float* alpha, void* of_x, const void* x, void* of_w, const void* w, void* c, int algorithm,
                            void* workspace, size_t bytes, const float* beta, void* of_y, void* y) {
    Problem p;
    if (!whole(handle, of_x, of_w, c, of_y, p) || algorithm < 0 || algorithm > 1) {
        return BAD_PARAM;
    }
    auto term = [](size_t image, size_t filter, size_t output, size_t* at) { at[0] = image, at[1] = filter, at[2] = output; };
    return run(handle, p, p.x, x, p.w, w, p.y, y, alpha, beta, algorithm, workspace, bytes, term);
}

int cudnnConvolutionBackwardData(void* handle, const float* alpha, void* of_w, const void* w, void* of_dy, const void* dy, void* c,
                                 int algorithm, void* workspace, size_t bytes, const float* beta, void* of_dx, void* dx) {
    Problem p;
    if (!whole(handle, of_dx, of_w, c, of_dy, p) || algorithm != 1) {
        return BAD_PARAM;
    }
    auto term = [](size_t image, size_t filter, size_t output, size_t* at) { at[0] = filter, at[1] = output, at[2] = image; };
    return run(handle, p, p.w, w, p.y, dy, p.x, dx, alpha, beta, algorithm, workspace, bytes, term);
}

int cudnnConvolutionBackwardFilter(void* handle, const float* alpha, void* of_x, const void* x, void* of_dy, const void* dy, void* c,
                                   int algorithm, void* workspace, size_t bytes, const float* beta, void* of_dw, void* dw) {
    Problem p;
    if (!whole(handle, of_x, of_dw, c, of_dy, p) || algorithm != 1) {
        return BAD_PARAM;
    }
    auto term = [](size_t image, size_t filter, size_t output, size_t* at) { at[0] = image, at[1] = output, at[2] = filter; };
    return run(handle, p, p.x, x, p.y, dy, p.w, dw, alpha, beta, algorithm, workspace, bytes, term);
}
}
