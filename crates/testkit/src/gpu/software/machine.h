// What a compiled kernel and the software driver agree on.
struct Index {
    unsigned x;
};

struct Entry {
    const char* name;
    unsigned threads, parameters;
    // Runs the thread that `thread` and `block` say, up to its end; it calls `barrier` at barriers.
    void (*run)(unsigned char* const* parameters);
    Index* thread;
    Index* block;
    void (**barrier)();
};

// Runs all threads of all groups.
void run_groups(Entry* entry, unsigned groups, unsigned threads, unsigned char* const* parameters);
