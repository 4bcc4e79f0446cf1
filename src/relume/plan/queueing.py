r"""How long work waits when it comes at random and each piece takes the same time."""

__all__ = ["erlang_c", "mean_wait"]


def erlang_c(servers: int, load: float) -> float:
    """The share of arrivals that finds all servers busy, M/M/c.

    Computed by the recursion of Erlang's B, which neither overflows nor cancels,

        B₀ = 1,  B_k = a B_{k−1} / (k + a B_{k−1}),  C = B / (1 − ρ (1 − B)),  ρ = a / c.

    Args:
        servers: c, from 1 on.
        load: a = arrival rate × service time, below c.

    Source: A. K. Erlang, "Solution of some problems in the theory of probabilities of significance in
    automatic telephone exchanges", 1917.

    >>> round(erlang_c(1, 0.7), 9)
    0.7
    """
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def mean_wait(servers: int, utilisation: float, service_s: float) -> float:
    """The mean wait before service in seconds, M/D/c: Poisson arrivals, every piece takes ``service_s``.

    Half of that of M/M/c, which is exact for one server (Pollaczek and Khinchine) and near it for more.

    >>> round(mean_wait(1, 0.5, 10.0), 9)  # ρ t / (2 (1 − ρ))
    5.0
    """
    load = utilisation * servers
    return erlang_c(servers, load) * service_s / (2 * (servers - load))
