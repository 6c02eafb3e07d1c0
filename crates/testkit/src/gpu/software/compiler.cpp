// NVRTC in software: the functions that we call, by the host's C++ compiler. A "cubin" is a library that the software driver
// loads. What C++ leaves undefined (a signed overflow, a misaligned load) ends the program that runs into it.
//
// FOLDER, given when this is compiled, has the headers and takes temporary files.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <unistd.h>

namespace {

struct Program {
    std::string source, log, code;
};

std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string between(const std::string& text, const std::string& from, const std::string& to) {
    size_t start = text.find(from) + from.size();
    return text.substr(start, text.find(to, start) - start);
}

// The kernel as C++, with the entry that the driver looks for.
std::string whole(const std::string& source) {
    std::string head = between(source, "extern \"C\" __global__ void ", "{\n"), text = source;
    std::string bounds = between(head, "__launch_bounds__(", ")"), threads = bounds.substr(0, bounds.find(','));
    std::string name = between(head, ") ", "(");
    std::string parameters = between(head, name + "(", ") ");
    unsigned n = parameters.empty() ? 0 : 1;
    std::string list = n ? "Pointer{p[0]}" : "";
    for (char c : parameters) {
        if (c == ',') {
            list += ", Pointer{p[" + std::to_string(n++) + "]}";
        }
    }
    size_t dynamic = text.find("extern __shared__");
    if (dynamic != std::string::npos) {
        text.replace(dynamic, std::strlen("extern __shared__"), "extern");
    }
    return "#include \"kernel.h\"\nunsigned char shared[163 << 10] __align__(16);\n" + text +
           "static void run(unsigned char* const* p) { " + name + "(" + list + "); }\n" +
           "extern \"C\" { Entry entry = {\"" + name + "\", " + threads + ", " + std::to_string(n) +
           ", run, &threadIdx, &blockIdx, &barrier}; }\n";
}

}  // namespace

extern "C" {

int nvrtcVersion(int* major, int* minor) {
    *major = 13;
    *minor = 0;
    return 0;
}

int nvrtcGetNumSupportedArchs(int* n) {
    *n = 1;
    return 0;
}

int nvrtcGetSupportedArchs(int* architectures) {
    architectures[0] = 75;
    return 0;
}

const char* nvrtcGetErrorString(int code) { return code == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR"; }

int nvrtcCreateProgram(Program** program, const char* source, const char*, int, const char* const*, const char* const*) {
    *program = new Program{source, "", ""};
    return 0;
}

int nvrtcCompileProgram(Program* program, int, const char* const*) {
    char base[] = FOLDER "/kernel-XXXXXX";
    int file = mkstemp(base);
    close(file);
    std::string path = base;
    std::ofstream(path + ".cpp") << whole(program->source);
    std::string command = "c++ -std=c++17 -w -O1 -ffp-contract=off -fsanitize=undefined -fsanitize-undefined-trap-on-error "
                          "-fPIC -shared -I" FOLDER " " + path + ".cpp -o " + path + ".so -lm 2>" + path + ".log";
    int status = std::system(command.c_str());
    program->log = contents(path + ".log");
    program->code = contents(path + ".so");
    for (const char* end : {"", ".cpp", ".so", ".log"}) {
        unlink((path + end).c_str());
    }
    return status == 0 ? 0 : 6;
}

int nvrtcGetCUBINSize(Program* program, size_t* bytes) {
    *bytes = program->code.size();
    return 0;
}

int nvrtcGetCUBIN(Program* program, char* code) {
    std::memcpy(code, program->code.data(), program->code.size());
    return 0;
}

int nvrtcGetProgramLogSize(Program* program, size_t* bytes) {
    *bytes = program->log.size() + 1;
    return 0;
}

int nvrtcGetProgramLog(Program* program, char* log) {
    std::memcpy(log, program->log.c_str(), program->log.size() + 1);
    return 0;
}

int nvrtcDestroyProgram(Program** program) {
    delete *program;
    return 0;
}
}
