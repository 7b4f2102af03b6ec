"""Linear systems with the Laplacian of a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Operator = Callable[[Array], Array]

LANCZOS_STEPS = 32
#: Systems that take more iterations than this are left as they are.
MAX_SOLVER_STEPS = 1000
#: Parts of the graph whose means the preconditioner solves for: one of 16 points, and at most 256.
GROUP_SIZE, MAX_GROUPS = 16, 256


class Graph(NamedTuple):
    """A graph as the products with its Laplacians need it.

    Attributes:
      edges: `(E, 2)`.
      degree: number of edges at each point, `(N,)`, real.
      weight: w, `(E,)`, one of each edge.
      incident: edges at each point, `(N, K)`, E where there are fewer; None where not known.
      part: the connected part that each point belongs to, `(N,)`; see `parts_of`.
    """

    edges: Array
    degree: Array
    weight: Array
    incident: Array | None
    part: Array


# ---------------------------------------------------------------- graph


def graph_of(edges: Array, n: int, incident: Array | None = None) -> Graph:
    """The graph of `edges` `(E, 2)` between n points.

    Args:
      edges: each of them once.
      n: number of points.
      incident: table of `gmkit.data.incident_edges`. With it products with the Laplacian are
        gathers, several times as fast as the scatters without it unless some point has very many.
    """
    degree = jnp.zeros(n).at[edges].add(1.0)
    at = degree[edges]
    weight = jnp.mean(degree) / jnp.sqrt(at[:, 0] * at[:, 1])
    return Graph(edges, degree, weight, incident, parts_of(edges, n))


def n_parts(n: int) -> int:
    """How many parts `parts_of` makes of n points."""
    return min(MAX_GROUPS, max(1, n // GROUP_SIZE))


def parts_of(edges: Array, n: int) -> Array:
    """Divides a graph into `n_parts(n)` connected parts, numbers `(n,)`.

    They grow from points taken at equal distances of the order they come in, all at once, along
    the edges. Points that none reaches have the number `n_parts(n)`.
    """
    i, j = edges.T
    count = n_parts(n)
    seeds = jnp.arange(count, dtype=jnp.int32)
    none = jnp.full(n, -1, jnp.int32)

    def grown(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        part, _ = carry
        near = none.at[i].max(part[j]).at[j].max(part[i])
        new = jnp.where(part < 0, near, part)
        return new, jnp.any(new != part)

    first = none.at[seeds * (n // count)].set(seeds)
    part, _ = jax.lax.while_loop(lambda carry: carry[1], grown, (first, jnp.array(True)))
    return jnp.where(part < 0, count, part)


def lengths(graph: Graph, u: Array) -> Array:
    """Lengths `(E,)` of the edges between representatives `(N, D)`."""
    return jnp.sqrt(jnp.sum(jnp.square(u[graph.edges[:, 0]] - u[graph.edges[:, 1]]), axis=1))


def laplacian(graph: Graph, weight: Array) -> tuple[Operator, Array]:
    """The Laplacian of edge weights `(E,)`: its product with `(N, D)`, and its diagonal `(N, 1)`.

    It is computed from differences of neighbours, which are exact where these are close.
    """
    (i, j), n = graph.edges.T, len(graph.degree)
    if graph.incident is None:

        def scattered(u: Array) -> Array:
            flow = weight[:, None] * (u[i] - u[j])
            return jnp.zeros_like(u).at[i].add(flow).at[j].add(-flow)

        diagonal = jnp.zeros(n, weight.dtype).at[graph.edges].add(weight[:, None])
        return scattered, diagonal[:, None]

    here = jnp.arange(n, dtype=i.dtype)[:, None]
    ends = jnp.concatenate([i + j, jnp.zeros_like(i[:1])])[graph.incident]
    # Beyond its last edge a point is its own neighbour.
    other = jnp.where(graph.incident < len(i), ends - here, here)
    weights = jnp.concatenate([weight, jnp.zeros_like(weight[:1])])[graph.incident]

    def gathered(u: Array) -> Array:
        total = jnp.zeros_like(u)
        for slot in range(other.shape[1]):
            total = total + weights[:, slot, None] * (u - u[other[:, slot]])
        return total

    return gathered, jnp.sum(weights, axis=1, keepdims=True)


def largest_eigenvalue(product: Operator, n: int) -> Array:
    """Of a symmetric operator on `(n, 1)`, by Lanczos from a fixed random vector."""
    start = jax.random.normal(jax.random.key(0), (n, 1))
    tiny = float(jnp.finfo(start.dtype).tiny)

    def body(carry: tuple[Array, Array, Array], _: None) -> tuple[Any, tuple[Array, Array]]:
        vector, before, beta = carry
        image = product(vector) - beta * before
        alpha = jnp.sum(image * vector)
        image = image - alpha * vector
        beta = jnp.sqrt(jnp.sum(jnp.square(image)))
        # Where the space is exhausted zeros follow, which add the eigenvalue 0.
        return (image / jnp.maximum(beta, tiny), vector, beta), (alpha, beta)

    unit = start / jnp.sqrt(jnp.sum(jnp.square(start)))
    carry = (unit, jnp.zeros_like(unit), jnp.zeros(()))
    _, (alpha, beta) = jax.lax.scan(body, carry, None, length=LANCZOS_STEPS)
    beta = beta[:-1]
    return jnp.linalg.eigvalsh(jnp.diag(alpha) + jnp.diag(beta, 1) + jnp.diag(beta, -1))[-1]


def preconditioner(graph: Graph, weight: Array) -> Operator:
    """An approximate inverse of I + A, A the Laplacian of edge weights `(E,)`.

    Jacobi's, which knows each point alone, plus the exact solution for moves of whole parts of the
    graph, which is what Jacobi's is slow to find.
    """
    (i, j), count = graph.part[graph.edges].T, n_parts(len(graph.degree))
    rows, columns = jnp.concatenate([i, j, i, j]), jnp.concatenate([i, j, j, i])
    entries = jnp.concatenate([weight, weight, -weight, -weight])
    size = jnp.zeros(count).at[graph.part].add(1.0, mode="drop")
    coarse = jnp.diag(size).at[rows, columns].add(entries, mode="drop")
    inverse = jnp.linalg.inv(coarse)
    diagonal = 1.0 + laplacian(graph, weight)[1]

    def apply(residual: Array) -> Array:
        total = jnp.zeros((count, residual.shape[1])).at[graph.part].add(residual, mode="drop")
        moves = jnp.matmul(inverse, total, precision=jax.lax.Precision.HIGHEST)
        return residual / diagonal + moves.at[graph.part].get(mode="fill", fill_value=0.0)

    return apply


def solve(
    product: Operator, approximate_inverse: Operator, b: Array, start: Array, tolerance: float
) -> tuple[Array, Array]:
    """Solves a positive definite system by preconditioned conjugate gradients.

    Args:
      product: of the matrix with `(N, D)`.
      approximate_inverse: its product with `(N, D)`, positive definite too.
      b: right-hand sides `(N, D)`; the columns are solved side by side.
      start: first guess `(N, D)`.
      tolerance: the error to stop at, in the norm of the system's energy as the approximate
        inverse estimates it, relative to the norm of the centred b.

    Returns:
      The solution, and the number of iterations, int32.
    """
    enough = tolerance**2 * jnp.sum(jnp.square(b - jnp.mean(b, axis=0, keepdims=True)))
    # A column that is solved has nothing left to divide.
    ratio = lambda a, b: jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)
    dot = lambda a, b: jnp.sum(a * b, axis=0, keepdims=True)

    def going(carry: tuple[Array, ...]) -> Array:
        return (jnp.sum(carry[3]) > enough) & (carry[4] < MAX_SOLVER_STEPS)

    def body(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        u, residual, direction, gain, count = carry
        image = product(direction)
        size = ratio(gain, dot(direction, image))
        u, residual = u + size * direction, residual - size * image
        scaled = approximate_inverse(residual)
        new = dot(residual, scaled)
        return u, residual, scaled + ratio(new, gain) * direction, new, count + 1

    residual = b - product(start)
    scaled = approximate_inverse(residual)
    first = (start, residual, scaled, dot(residual, scaled), jnp.zeros((), jnp.int32))
    u, _, _, _, count = jax.lax.while_loop(going, body, first)
    return u, count
