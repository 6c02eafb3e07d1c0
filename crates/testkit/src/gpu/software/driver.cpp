// A CUDA driver in software: the functions of libcuda that our device calls, on the host's memory. It is as asynchronous as
// a driver may be (what a stream is given runs when somebody waits for it) and as strict as no driver is: a call without a
// context, a copy beyond an allocation, memory freed while it is in use, anything left over at the end, ends the program.
//
// In the environment: SOFTWARE_CUDA_MEMORY, bytes of the GPU's; SOFTWARE_CUDA_FAULT, the launch that reads a wrong address;
// SOFTWARE_CUDA_VERSION, the driver's.
#include "machine.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

enum Status {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    CAPTURE_UNSUPPORTED = 900,
};

using Address = unsigned long long;

[[noreturn]] void misuse(const char* what) {
    std::fprintf(stderr, "software CUDA: %s\n", what);
    std::_Exit(9);
}

struct Module {
    void* library;
};
struct Function {
    Entry* entry;
    unsigned dynamic_shared;
};
struct Stream {
    std::vector<std::function<void()>> queue;
    bool capturing = false;
    std::vector<std::function<void()>> captured;
};
struct Graph {
    std::vector<std::function<void()>> nodes;
};
struct Event {
    Stream* stream = nullptr;
    bool done = true;
    double ms = 0;
};

std::mutex lock;
bool initialised = false;
int status = SUCCESS;
std::map<Address, size_t> allocations, host_allocations;
std::map<Stream*, std::unique_ptr<Stream>> streams;
int modules = 0, events = 0, graphs = 0, executables = 0, contexts = 0;
size_t launches = 0;
thread_local bool current = false;
const size_t CANARY = 64;

size_t number(const char* name, size_t otherwise) {
    const char* text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

size_t total() { return number("SOFTWARE_CUDA_MEMORY", size_t(1) << 30); }

size_t used() {
    size_t sum = 0;
    for (auto& a : allocations) {
        sum += a.second;
    }
    return sum;
}

void flush(Stream* s) {
    std::vector<std::function<void()>> queue;
    queue.swap(s->queue);
    for (auto& work : queue) {
        work();
    }
}

bool idle() {
    for (auto& s : streams) {
        if (!s.second->queue.empty()) {
            return false;
        }
    }
    return true;
}

bool inside(Address start, size_t bytes) {
    auto after = allocations.upper_bound(start);
    if (after == allocations.begin()) {
        return false;
    }
    auto& found = *std::prev(after);
    return start + bytes <= found.first + found.second;
}

Stream* stream(void* handle) {
    auto found = streams.find(static_cast<Stream*>(handle));
    if (found == streams.end()) {
        misuse("a stream that is not live");
    }
    return found->second.get();
}

// What every call on a context checks first. `captures`: whether it may be called while a stream captures.
int enter(bool captures = false) {
    if (!current) {
        return INVALID_CONTEXT;
    }
    for (auto& s : streams) {
        if (s.second->capturing && !captures) {
            misuse("a call that may not be made while a stream captures");
        }
    }
    return status;
}

}  // namespace

#define CALL(captures)                            \
    std::lock_guard<std::mutex> guard(lock);      \
    if (int failed = enter(captures)) {           \
        return failed;                            \
    }

extern "C" {

int cuInit(unsigned) {
    initialised = true;
    return SUCCESS;
}

int cuDriverGetVersion(int* version) {
    *version = int(number("SOFTWARE_CUDA_VERSION", 13000));
    return SUCCESS;
}

int cuGetErrorName(int code, const char** text) {
    static const std::map<int, const char*> names = {
        {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
        {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
        {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
    };
    auto found = names.find(code);
    *text = found == names.end() ? "CUDA_ERROR_?" : found->second;
    return SUCCESS;
}

int cuGetErrorString(int code, const char** text) {
    *text = code == ILLEGAL_ADDRESS ? "an illegal memory access was encountered" : "something went wrong";
    return SUCCESS;
}

int cuDeviceGetCount(int* n) {
    *n = 1;
    return initialised ? SUCCESS : NOT_INITIALIZED;
}

int cuDeviceGet(int* device, int index) {
    *device = index;
    return index == 0 ? SUCCESS : INVALID_DEVICE;
}

int cuDeviceGetName(char* name, int n, int) {
    std::snprintf(name, n, "software");
    return SUCCESS;
}

int cuDeviceTotalMem_v2(size_t* bytes, int) {
    *bytes = total();
    return SUCCESS;
}

int cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
        case 16: *value = 64; return SUCCESS;  // multiprocessors
        case 75: *value = 7; return SUCCESS;   // architecture, major: the last without asynchronous copies
        case 76: *value = 5; return SUCCESS;   // and minor
        default: return INVALID_VALUE;
    }
}

int cuDevicePrimaryCtxRetain(void** context, int) {
    std::lock_guard<std::mutex> guard(lock);
    contexts++;
    *context = &contexts;
    return SUCCESS;
}

int cuDevicePrimaryCtxRelease_v2(int) {
    std::lock_guard<std::mutex> guard(lock);
    // After a kernel's error every call is refused, those that give back as well.
    if (--contexts == 0 && status == SUCCESS) {
        bool left = !allocations.empty() || !host_allocations.empty() || !streams.empty();
        if (left || modules || events || graphs || executables) {
            std::fprintf(stderr, "left: %zu allocations, %zu of the host's, %zu streams, %d modules, %d events, %d graphs, %d executables\n",
                         allocations.size(), host_allocations.size(), streams.size(), modules, events, graphs, executables);
            misuse("something was not given back");
        }
    }
    return SUCCESS;
}

int cuCtxSetCurrent(void* context) {
    current = context != nullptr;
    return SUCCESS;
}

int cuCtxGetCurrent(void** context) {
    *context = current ? &contexts : nullptr;
    return SUCCESS;
}

int cuStreamCreate(void** handle, unsigned) {
    CALL(false)
    auto made = std::make_unique<Stream>();
    Stream* s = made.get();
    streams[s] = std::move(made);
    *handle = s;
    return SUCCESS;
}

int cuStreamSynchronize(void* handle) {
    CALL(false)
    flush(stream(handle));
    return status;
}

int cuStreamDestroy_v2(void* handle) {
    CALL(false)
    flush(stream(handle));
    streams.erase(static_cast<Stream*>(handle));
    return SUCCESS;
}

int cuStreamBeginCapture_v2(void* handle, int) {
    CALL(false)
    stream(handle)->capturing = true;
    return SUCCESS;
}

int cuStreamIsCapturing(void* handle, int* capturing) {
    CALL(true)
    *capturing = stream(handle)->capturing;
    return SUCCESS;
}

int cuStreamEndCapture(void* handle, void** graph) {
    CALL(true)
    Stream* s = stream(handle);
    if (!s->capturing) {
        return INVALID_VALUE;
    }
    s->capturing = false;
    graphs++;
    *graph = new Graph{std::move(s->captured)};
    s->captured.clear();
    return SUCCESS;
}

int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
    CALL(false)
    executables++;
    *executable = new Graph(*static_cast<Graph*>(graph));
    return SUCCESS;
}

int cuGraphDestroy(void* graph) {
    CALL(false)
    graphs--;
    delete static_cast<Graph*>(graph);
    return SUCCESS;
}

int cuGraphExecDestroy(void* executable) {
    CALL(false)
    executables--;
    delete static_cast<Graph*>(executable);
    return SUCCESS;
}

int cuGraphUpload(void*, void* handle) {
    CALL(false)
    stream(handle);
    return SUCCESS;
}

int cuGraphLaunch(void* executable, void* handle) {
    CALL(false)
    auto& nodes = static_cast<Graph*>(executable)->nodes;
    auto& queue = stream(handle)->queue;
    queue.insert(queue.end(), nodes.begin(), nodes.end());
    return SUCCESS;
}

int cuMemAlloc_v2(Address* start, size_t bytes) {
    CALL(false)
    if (bytes == 0) {
        return INVALID_VALUE;
    }
    if (used() + bytes > total()) {
        return OUT_OF_MEMORY;
    }
    size_t whole = (bytes + CANARY + 255) / 256 * 256;
    void* memory = std::aligned_alloc(256, whole);
    std::memset(memory, 0xa5, whole);
    *start = reinterpret_cast<Address>(memory);
    allocations[*start] = bytes;
    return SUCCESS;
}

int cuMemFree_v2(Address start) {
    CALL(false)
    auto found = allocations.find(start);
    if (found == allocations.end()) {
        misuse("memory that is not allocated is freed");
    }
    if (!idle()) {
        misuse("memory is freed while it may be in use");
    }
    auto* end = reinterpret_cast<unsigned char*>(start) + found->second;
    for (size_t i = 0; i < CANARY; i++) {
        if (end[i] != 0xa5) {
            misuse("a kernel wrote behind its memory");
        }
    }
    std::free(reinterpret_cast<void*>(start));
    allocations.erase(found);
    return SUCCESS;
}

int cuMemGetInfo_v2(size_t* free, size_t* all) {
    CALL(false)
    *all = total();
    *free = total() - used();
    return SUCCESS;
}

// The allocation that an address is in.
int cuMemGetAddressRange_v2(Address* base, size_t* bytes, Address address) {
    CALL(true)
    auto after = allocations.upper_bound(address);
    if (after == allocations.begin() || !inside(address, 1)) {
        return INVALID_VALUE;
    }
    *base = std::prev(after)->first;
    *bytes = std::prev(after)->second;
    return SUCCESS;
}

int cuMemHostAlloc(void** start, size_t bytes, unsigned) {
    CALL(false)
    *start = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    host_allocations[reinterpret_cast<Address>(*start)] = bytes;
    return SUCCESS;
}

int cuMemFreeHost(void* start) {
    CALL(false)
    if (!idle()) {
        misuse("memory of the host is freed while it may be in use");
    }
    if (!host_allocations.erase(reinterpret_cast<Address>(start))) {
        misuse("memory of the host that is not allocated is freed");
    }
    std::free(start);
    return SUCCESS;
}

int cuMemsetD8Async(Address start, unsigned char value, size_t bytes, void* handle) {
    CALL(false)
    if (!inside(start, bytes)) {
        misuse("a fill beyond an allocation");
    }
    stream(handle)->queue.push_back([=] { std::memset(reinterpret_cast<void*>(start), value, bytes); });
    return SUCCESS;
}

int cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, void* handle) {
    CALL(false)
    if (!inside(to, bytes)) {
        misuse("a copy beyond an allocation");
    }
    stream(handle)->queue.push_back([=] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); });
    return SUCCESS;
}

int cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, void* handle) {
    CALL(false)
    if (!inside(from, bytes)) {
        misuse("a copy beyond an allocation");
    }
    stream(handle)->queue.push_back([=] { std::memcpy(to, reinterpret_cast<void*>(from), bytes); });
    return SUCCESS;
}

int cuModuleLoadData(void** module, const void* image) {
    CALL(false)
    auto* header = static_cast<const Elf64_Ehdr*>(image);
    if (std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
        return INVALID_IMAGE;
    }
    // Section headers come last.
    size_t bytes = header->e_shoff + size_t(header->e_shnum) * header->e_shentsize;
    char path[] = "/tmp/thalweg-kernel-XXXXXX";
    int file = mkstemp(path);
    if (write(file, image, bytes) != ssize_t(bytes)) {
        misuse("a module cannot be kept");
    }
    close(file);
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    unlink(path);
    if (!library) {
        std::fprintf(stderr, "%s\n", dlerror());
        return INVALID_IMAGE;
    }
    modules++;
    *module = new Module{library};
    return SUCCESS;
}

int cuModuleUnload(void* module) {
    CALL(false)
    if (!idle()) {
        misuse("a module is unloaded while it may be in use");
    }
    modules--;
    dlclose(static_cast<Module*>(module)->library);
    delete static_cast<Module*>(module);
    return SUCCESS;
}

int cuModuleGetFunction(void** function, void* module, const char* name) {
    CALL(false)
    auto* entry = static_cast<Entry*>(dlsym(static_cast<Module*>(module)->library, "entry"));
    if (!entry || std::strcmp(entry->name, name) != 0) {
        return NOT_FOUND;
    }
    // As long as the module; there are few, and they are small.
    static std::vector<std::unique_ptr<Function>> all;
    all.push_back(std::make_unique<Function>(Function{entry, 0}));
    *function = all.back().get();
    return SUCCESS;
}

int cuFuncSetAttribute(void* function, int attribute, int value) {
    CALL(false)
    if (attribute != 8 || value > 163 << 10) {
        return INVALID_VALUE;
    }
    static_cast<Function*>(function)->dynamic_shared = value;
    return SUCCESS;
}

int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* handle, void** parameters, void** extra) {
    CALL(true)
    auto* f = static_cast<Function*>(function);
    bool fits = gx > 0 && gy == 1 && gz == 1 && bx == f->entry->threads && by == 1 && bz == 1 && !extra;
    if (!fits || shared > std::max(48u << 10, f->dynamic_shared)) {
        return INVALID_VALUE;
    }
    std::vector<unsigned char*> pointers;
    for (unsigned i = 0; i < f->entry->parameters; i++) {
        auto start = *static_cast<Address*>(parameters[i]);
        if (start && !inside(start, 1)) {
            misuse("a kernel's parameter points nowhere");
        }
        pointers.push_back(reinterpret_cast<unsigned char*>(start));
    }
    Entry* entry = f->entry;
    auto work = [=] {
        if (++launches == number("SOFTWARE_CUDA_FAULT", 0)) {
            status = ILLEGAL_ADDRESS;
        }
        if (status == SUCCESS) {
            run_groups(entry, gx, bx, pointers.data());
        }
    };
    Stream* s = stream(handle);
    (s->capturing ? s->captured : s->queue).push_back(work);
    return SUCCESS;
}

// A function of the host's in a stream's order. It may not call the driver.
int cuLaunchHostFunc(void* handle, void (*run)(void*), void* data) {
    CALL(true)
    Stream* s = stream(handle);
    (s->capturing ? s->captured : s->queue).push_back([=] { run(data); });
    return SUCCESS;
}

int cuEventCreate(void** event, unsigned) {
    CALL(false)
    events++;
    *event = new Event;
    return SUCCESS;
}

int cuEventRecord(void* handle, void* on) {
    CALL(false)
    auto* e = static_cast<Event*>(handle);
    e->stream = stream(on);
    e->done = false;
    e->stream->queue.push_back([=] {
        static double clock = 0;
        e->done = true;
        e->ms = clock += 1;
    });
    return SUCCESS;
}

int cuEventSynchronize(void* handle) {
    CALL(false)
    auto* e = static_cast<Event*>(handle);
    if (!e->done) {
        flush(e->stream);
    }
    return status;
}

int cuEventElapsedTime(float* ms, void* from, void* to) {
    CALL(false)
    auto *a = static_cast<Event*>(from), *b = static_cast<Event*>(to);
    if (!a->done || !b->done) {
        return INVALID_VALUE;
    }
    *ms = float(b->ms - a->ms);
    return SUCCESS;
}

int cuEventDestroy_v2(void* handle) {
    CALL(false)
    auto* e = static_cast<Event*>(handle);
    if (!e->done) {
        flush(e->stream);
    }
    events--;
    delete e;
    return SUCCESS;
}
}
