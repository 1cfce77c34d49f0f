/* One rank of the communication benchmark, over any MPI.
 *
 * The loop, the arguments and the output are those of crates/cobre-comm/examples/collectives.rs, so that what
 * differs is the library:
 *
 *   collectives OPERATION:COUNT:ITERATIONS ...     prints "OPERATION COUNT MICROSECONDS" for each
 *   collectives wait:SECONDS:1                     prints "wait SECONDS SHARE", the processor share of a waiter
 *
 * A time is the median over iterations of the longest time of any rank. Every iteration writes the send buffers
 * anew and checks the whole result. */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int rank, size;

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void *allocate(size_t bytes)
{
    void *memory = calloc(bytes ? bytes : 1, 1);
    if (!memory) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        MPI_Abort(MPI_COMM_WORLD, 3);
    }
    return memory;
}

static void check(int right, const char *operation, size_t iteration)
{
    if (!right) {
        fprintf(stderr, "wrong result of %s on rank %d in iteration %zu\n", operation, rank, iteration);
        MPI_Abort(MPI_COMM_WORLD, 4);
    }
}

/* Bytes that differ between ranks, iterations and places. */
static uint8_t byte_at(int of_rank, size_t iteration, size_t place)
{
    return (uint8_t)((size_t)of_rank * 67 + iteration * 29 + place + (place >> 8) + 1);
}

/* Small whole numbers, whose sums are exact in any order. */
static double number_at(int of_rank, size_t iteration, size_t place)
{
    return (double)(uint32_t)(of_rank + 1) * (double)(uint32_t)(iteration % 1000 + (place & 7) + 1);
}

static void fill(uint8_t *buffer, size_t count, int of_rank, size_t iteration)
{
    for (size_t i = 0; i < count; i++)
        buffer[i] = byte_at(of_rank, iteration, i);
}

static int is_filled(const uint8_t *buffer, size_t count, int of_rank, size_t iteration)
{
    uint8_t difference = 0;
    for (size_t i = 0; i < count; i++)
        difference |= buffer[i] ^ byte_at(of_rank, iteration, i);
    return !difference;
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double time_barrier(size_t iteration, size_t count, void *send, void *receive, int *counts, int *places)
{
    (void)iteration, (void)count, (void)send, (void)receive, (void)counts, (void)places;
    MPI_Barrier(MPI_COMM_WORLD);
    double start = seconds(CLOCK_MONOTONIC);
    MPI_Barrier(MPI_COMM_WORLD);
    return seconds(CLOCK_MONOTONIC) - start;
}

static double time_allreduce(size_t iteration, size_t count, void *send, void *receive, int *counts, int *places)
{
    double *values = send, *sums = receive;
    (void)counts, (void)places;
    for (size_t i = 0; i < count; i++)
        values[i] = number_at(rank, iteration, i);
    MPI_Barrier(MPI_COMM_WORLD);
    double start = seconds(CLOCK_MONOTONIC);
    MPI_Allreduce(values, sums, (int)count, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    double taken = seconds(CLOCK_MONOTONIC) - start;
    double ranks = (double)size * (double)(size + 1) / 2;
    int wrong = 0;
    for (size_t i = 0; i < count; i++)
        wrong |= sums[i] != ranks * number_at(0, iteration, i);
    check(!wrong, "allreduce", iteration);
    return taken;
}

static double time_allgatherv(size_t iteration, size_t count, void *send, void *receive, int *counts, int *places)
{
    fill(send, count, rank, iteration);
    MPI_Barrier(MPI_COMM_WORLD);
    double start = seconds(CLOCK_MONOTONIC);
    MPI_Allgatherv(send, (int)count, MPI_BYTE, receive, counts, places, MPI_BYTE, MPI_COMM_WORLD);
    double taken = seconds(CLOCK_MONOTONIC) - start;
    for (int r = 0; r < size; r++)
        check(is_filled((uint8_t *)receive + places[r], count, r, iteration), "allgatherv", iteration);
    return taken;
}

static double time_broadcast(size_t iteration, size_t count, void *send, void *receive, int *counts, int *places)
{
    (void)receive, (void)counts, (void)places;
    if (rank == 0)
        fill(send, count, 0, iteration);
    MPI_Barrier(MPI_COMM_WORLD);
    double start = seconds(CLOCK_MONOTONIC);
    MPI_Bcast(send, (int)count, MPI_BYTE, 0, MPI_COMM_WORLD);
    double taken = seconds(CLOCK_MONOTONIC) - start;
    check(is_filled(send, count, 0, iteration), "broadcast", iteration);
    return taken;
}

typedef double (*timed)(size_t, size_t, void *, void *, int *, int *);

static void measure(const char *name, timed operation, size_t count, size_t iterations)
{
    int *counts = allocate(sizeof(int) * (size_t)size), *places = allocate(sizeof(int) * (size_t)size);
    for (int r = 0; r < size; r++) {
        counts[r] = (int)count;
        places[r] = r * (int)count;
    }
    int is_gather = operation == time_allgatherv;
    void *send = allocate(count * sizeof(double));
    void *receive = allocate(is_gather ? count * (size_t)size : count * sizeof(double));
    double *times = allocate(iterations * sizeof(double)), *longest = allocate(iterations * sizeof(double));
    size_t first = iterations / 10 + 1;
    for (size_t i = 0; i < first + iterations; i++) {
        double taken = operation(i, count, send, receive, counts, places);
        if (i >= first)
            times[i - first] = taken * 1e6;
    }
    MPI_Allreduce(times, longest, (int)iterations, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    qsort(longest, iterations, sizeof(double), ascending);
    if (rank == 0) {
        printf("%s %zu %.3f\n", name, count, longest[iterations / 2]);
        fflush(stdout);
    }
    free(counts), free(places), free(send), free(receive), free(times), free(longest);
}

/* Rank 0 computes while the others wait for it. */
static void measure_waiting(size_t duration)
{
    MPI_Barrier(MPI_COMM_WORLD);
    double start = seconds(CLOCK_MONOTONIC), processor = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (rank == 0 && seconds(CLOCK_MONOTONIC) - start < (double)duration)
        ;
    MPI_Barrier(MPI_COMM_WORLD);
    double used = seconds(CLOCK_PROCESS_CPUTIME_ID) - processor, share = used / (seconds(CLOCK_MONOTONIC) - start);
    double waiter = rank == 0 ? 0 : share, largest;
    MPI_Allreduce(&waiter, &largest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    if (rank == 0) {
        printf("wait %zu %.5f\n", duration, largest);
        fflush(stdout);
    }
}

int main(int argument_count, char **arguments)
{
    MPI_Init(&argument_count, &arguments);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int i = 1; i < argument_count; i++) {
        char name[32];
        size_t count, iterations;
        if (sscanf(arguments[i], "%31[a-z]:%zu:%zu", name, &count, &iterations) != 3 || iterations == 0) {
            fprintf(stderr, "%s is no OPERATION:COUNT:ITERATIONS\n", arguments[i]);
            MPI_Abort(MPI_COMM_WORLD, 2);
        }
        if (!strcmp(name, "wait"))
            measure_waiting(count);
        else if (!strcmp(name, "barrier"))
            measure(name, time_barrier, count, iterations);
        else if (!strcmp(name, "allreduce"))
            measure(name, time_allreduce, count, iterations);
        else if (!strcmp(name, "allgatherv"))
            measure(name, time_allgatherv, count, iterations);
        else if (!strcmp(name, "broadcast"))
            measure(name, time_broadcast, count, iterations);
        else {
            fprintf(stderr, "%s is no operation\n", name);
            MPI_Abort(MPI_COMM_WORLD, 2);
        }
    }
    MPI_Finalize();
    return 0;
}
