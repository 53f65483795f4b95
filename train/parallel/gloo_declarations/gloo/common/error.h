// Empty; see ../algorithm.h.
#pragma once
