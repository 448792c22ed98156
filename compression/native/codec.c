/* The codec's hot loops: one source for CPython (ctypes) and WebAssembly. See edgepress.h for the rules. */
#include "edgepress.h"
#include "text.h"
#include "gaps.h"
#include "rans.h"
#include "bloomier.h"
#include "floats.h"
#include "context.h"
#include "trellis.h"

EP_EXPORT int64_t ep_abi(void) { return EP_ABI; }
