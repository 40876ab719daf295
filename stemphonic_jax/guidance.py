"""Classifier-free guidance: how strongly each condition is followed.

With one weight w for all conditions c (Sec. 4.1) the velocity of a guided step is

    v = v(∅) + w·(v(c) − v(∅))                                                            (1)

StemGen (Eq. 3) gives each condition c_i a weight of its own, by samples from p(x)·∏ p(c_i|x)^w_i.
Of the velocities, which are linear in the scores ∇ log p(x|…), that asks for

    v = v(∅) + Σ_i w_i·(v(c_i) − v(∅))                                                    (2)

It takes the conditions to be independent given the music, and looks at each alone. Here they are
not: a sub-mix alone does not say which stem is to be made; the words do. So the likelihood is taken
apart by the chain rule instead, words first: p(c_w|x)^w · ∏_S p(c_S|x, all others)^w_S. By Bayes
∇ log p(c_S|x, rest) = ∇ log p(x|c) − ∇ log p(x|c without S), which gives

    v = v(∅) + w·(v(c) − v(∅)) + Σ_S (w_S − w)·(v(c) − v(c without S))                     (3)

where w is the weight of the words and S are the conditions of another weight w_S, those of an equal
one together. Equal weights give (1), and (3) is (2) where conditions are independent. A step costs
as many network rows for each stem as there are velocities with a factor other than zero: 2 for one
weight, 3 for words=3, context=1.5, and again 2 where w = 1, since v(∅) then cancels.

Two more things can be weighed that (1) has no null of. The words for one stem are a part of the
text, whose weight they have unless they are given another: they are left out by the text without
them. The other stems of an ensemble are heard with weight 1 unless they are given another: they are
left out by rows that are alone.

A negative prompt stands where the text is left out: the step then leads away from it.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stemphonic_jax.models.conditioning import CONDITIONS, Conditions, leave_out, null_conditions

Velocity = Callable[[Float[Array, "R T C"], Float[Array, "R"]], Float[Array, "R T C"]]
View = tuple[str, ...]  # names of the conditions that are left out
Views = tuple[View, ...]

FULL, NULL = (), CONDITIONS
PLAIN = (FULL, NULL)  # what guidance by one weight looks at
APART = 1 << 20  # between ids of groups of different views; there are fewer rows


def views(weights: Mapping[str, float]) -> dict[View, float]:
  """What a guided step looks at, by what is left out, and the factors of (3), which add up to 1.

  `weights` has "text", and whatever else is there of CONDITIONS, "stem_words" and "others".
  """
  weights, base = dict(weights), weights["text"]
  found = {FULL: base, NULL: 1 - base}

  def weigh(view: View, more: float) -> None:
    found[FULL] += more
    found[view] = found.get(view, 0.0) - more

  weigh(("stem_words",), weights.pop("stem_words", base) - base)
  weigh(("others",), weights.pop("others", 1.0) - 1)
  for weight in dict.fromkeys(weights.values()):
    view = tuple(name for name in CONDITIONS if weights.get(name) == weight)
    if weight != base:
      weigh(view, weight - base)
  return {view: factor for view, factor in found.items() if factor}


def guide(both: Velocity, scale: Float[Array, ""] | float) -> Velocity:
  """Guidance by one weight (1): v = v_null + scale·(v_cond − v_null).

  `both` maps 2·R rows, the first half conditioned and the second half null, in one network call.
  """

  def guided(x: Float[Array, "R T C"], t: Float[Array, "R"]) -> Float[Array, "R T C"]:
    v = both(jnp.concatenate([x, x]), jnp.concatenate([t, t]))
    conditioned, null = jnp.split(v, 2)
    return null + scale * (conditioned - null)

  return guided


def weigh(
  every: Callable[[Float[Array, "R T C"], Float[Array, "R"]], Float[Array, "V R T C"]],
  factors: Float[Array, "V"],
) -> Velocity:
  """Guidance by several (3): the velocities of `every` view at x(t), added up by their factors."""

  def guided(x: Float[Array, "R T C"], t: Float[Array, "R"]) -> Float[Array, "R T C"]:
    return jnp.einsum("v,vrtc->rtc", factors, every(x, t), precision="highest")

  return guided


def seen(conditions: Conditions, view: View, number: int) -> Conditions:
  """The conditions without those that a view leaves out; its rows hear none of another `number`."""
  if view == NULL:
    return null_conditions(conditions)
  shown = leave_out(conditions, view)
  if number and shown.group is not None:
    shown = shown.replace(group=shown.group + number * APART)
  return shown


def stacked(conditions: Conditions, chosen: Views) -> Conditions:
  """All of them, on a leading axis of views."""
  parts = [seen(conditions, view, number) for number, view in enumerate(chosen)]
  return jax.tree.map(lambda *a: jnp.stack(a), *parts)
