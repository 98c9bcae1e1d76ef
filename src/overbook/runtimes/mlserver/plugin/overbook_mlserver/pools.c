/* Gives back the memory of Python's small objects where whole pools of an arena are free. See pools.py for the why.

   CPython asks an allocator that anybody may set (PyObject_SetArenaAllocator) for arenas of 1 MiB, and cuts them into
   pools of 16 KiB, each for objects of one size. A pool without objects is kept for later, and an arena is given back
   only when all of its pools are free. Here every arena is written down, and `overbook_trim` gives back all pages but
   the first of each free pool. The first has the pool's header. A pool that is taken again begins anew when its size
   class is the one that no pool has, so that one is written there: the list of free objects was in the pages.

   Everything runs under the interpreter lock: nothing is taken or freed meanwhile. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* As in Include/cpython/objimpl.h. */
typedef struct {
    void *context;
    void *(*alloc)(void *context, size_t size);
    void (*free)(void *context, void *address, size_t size);
} Allocator;

void PyObject_GetArenaAllocator(Allocator *allocator);
void PyObject_SetArenaAllocator(Allocator *allocator);

/* As in Objects/obmalloc.c of CPython 3.10 to 3.13 on 64 bits. */
typedef struct {
    uint32_t used; /* objects */
    uint32_t padding;
    void *free_object;
    void *next, *previous;
    uint32_t arena;
    uint32_t size_class;
    uint32_t next_offset, last_offset;
} Pool;

enum { POOL = 16384, ARENA = 1 << 20, NO_CLASS = 0xffff };

static Allocator original;
static uintptr_t *arenas;
static size_t count, room;

static void *alloc_arena(void *context, size_t size) {
    void *made = original.alloc(context, size);
    if (made != NULL && size == ARENA) {
        if (count == room) {
            size_t more = room ? 2 * room : 256;
            uintptr_t *larger = realloc(arenas, more * sizeof *arenas);
            if (larger == NULL)
                return made; /* it is never trimmed */
            arenas = larger;
            room = more;
        }
        arenas[count++] = (uintptr_t)made;
    }
    return made;
}

static void free_arena(void *context, void *address, size_t size) {
    for (size_t i = count; i-- > 0;)
        if (arenas[i] == (uintptr_t)address) {
            arenas[i] = arenas[--count];
            break;
        }
    original.free(context, address, size);
}

/* Write down the arenas that are made from now on. */
void overbook_watch(void) {
    PyObject_GetArenaAllocator(&original);
    Allocator watching = {original.context, alloc_arena, free_arena};
    PyObject_SetArenaAllocator(&watching);
}

/* Give back what is free. Returns the bytes. */
size_t overbook_trim(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), given = 0;
    if (page >= POOL)
        return 0;
    for (size_t i = 0; i < count; i++) {
        uintptr_t end = arenas[i] + ARENA;
        for (uintptr_t at = (arenas[i] + POOL - 1) & -(uintptr_t)POOL; at + POOL <= end; at += POOL) {
            Pool *pool = (Pool *)at;
            /* One that was never used has nothing in its header; one that was given back already has no class. */
            if (pool->used != 0 || pool->size_class == NO_CLASS || pool->last_offset == 0)
                continue;
            pool->size_class = NO_CLASS;
            if (madvise((void *)(at + page), POOL - page, MADV_DONTNEED) == 0)
                given += POOL - page;
        }
    }
    return given;
}
