#define _GNU_SOURCE
#include "tiles.h"

#if HAS_TILES
#include <sys/syscall.h>
#include <unistd.h>

enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
#endif

// Whether this process may use all that this library was compiled for. Linux wants to be asked for the tiles' state, once for
// all threads (Documentation/arch/x86/xstate.rst).
EXPORT int longleaf_ready(void) {
#if HAS_TILES
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return 1;
#endif
}
