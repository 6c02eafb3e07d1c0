// A group's threads are fibers that run one after another, each up to its next barrier.
#include "machine.h"
#include <cstdlib>
#include <ucontext.h>

static const unsigned MOST_THREADS = 1024, STACK = 64 << 10;
static ucontext_t scheduler, fibers[MOST_THREADS];
static bool ended[MOST_THREADS];
static Entry* kernel;
static unsigned char* const* arguments;

static void fiber() {
    kernel->run(arguments);
    ended[kernel->thread->x] = true;
}

static void barrier() { swapcontext(&fibers[kernel->thread->x], &scheduler); }

void run_groups(Entry* entry, unsigned groups, unsigned threads, unsigned char* const* parameters) {
    static auto* stacks = static_cast<unsigned char*>(std::malloc(size_t(MOST_THREADS) * STACK));
    kernel = entry;
    arguments = parameters;
    *entry->barrier = barrier;
    unsigned& thread = entry->thread->x;
    for (unsigned group = 0; group < groups; group++) {
        entry->block->x = group;
        for (unsigned t = 0; t < threads; t++) {
            ended[t] = false;
            getcontext(&fibers[t]);
            fibers[t].uc_stack.ss_sp = stacks + size_t(t) * STACK;
            fibers[t].uc_stack.ss_size = STACK;
            fibers[t].uc_link = &scheduler;
            makecontext(&fibers[t], fiber, 0);
        }
        for (unsigned left = threads; left > 0;) {
            left = 0;
            for (thread = 0; thread < threads; thread++) {
                if (!ended[thread]) {
                    swapcontext(&scheduler, &fibers[thread]);
                    left += !ended[thread];
                }
            }
        }
    }
}
