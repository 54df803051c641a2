"""What the threads of a block add up together."""

from numbarank._cuda.driver import THREADS, inline, inside


@inline
def block_sum(numbers, number):
    """Return the sum over the threads of a block, the same in each of them, by way of a shared array."""
    thread = inside.threadIdx.x
    numbers[thread] = number
    inside.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            numbers[thread] += numbers[thread + half]
        inside.syncthreads()
        half //= 2
    number = numbers[0]
    inside.syncthreads()
    return number
