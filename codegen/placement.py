"""Where each value lies.

A value gets memory of its own, unless it can lie where it is wanted: a part of an assembled array is written to its
place in it by its own kernel, and a slice write or an added product changes its operand in that operand's memory. Both
need an order: whoever reads the old values must run before the first write, and a part can't be written before what
lies under it. Where `Order` can't grant that, values are copied. What an effect writes to an input lies there likewise,
if that can come after all that may fail (`overwrite.py`).

Values are placed from the last to the first, so that the array is placed when its parts are.
"""

from __future__ import annotations

from retape.ir import Graph
from retape.ir.graph import Node, Operand

from .assembly import Assembly, disassemble, is_assembled, part_of
from .fuse import Group, Plan
from .order import Order, Task
from .overwrite import can_fail, in_step, targets
from .products import adds, is_product, takes
from .steps import Draft
from .views import View, apply_view, joined, undo_view

__all__ = ["Placement", "place", "place_views"]


def place(draft: Draft, plan: Plan) -> Placement:
    """Decide where every value lies that must lie in memory (`draft.views`), and in which order the steps run."""
    placement = Placement(draft, plan)
    placed = plan.stored | placement.called
    for node in reversed(draft.graph.nodes):
        if node in placed or node.op.kind == "source":
            placement.visit(node)
    place_views(draft)
    placement.schedule()
    return placement


def place_views(draft: Draft) -> None:
    """Views lie where what they show lies."""
    for node in draft.graph.nodes:
        if node.op.kind == "view":
            source = next(node.parents())
            if source in draft.views:
                view = apply_view(node, draft.views[source])
                assert view is not None
                draft.views[node] = view


FAILING = 64  # steps that may fail, up to which writes to inputs are ordered behind them: each is looked at each time
Over = list[tuple[Node, list[Task]]]  # values that lie in some memory before, each with the steps that read it


class Placement:
    """`steps` in order, `assemblies` by node; `due` are those whose base is written before a step. `taken` are the
    inputs that values were placed in, `final` the steps that write there."""

    def __init__(self, draft: Draft, plan: Plan) -> None:
        graph = draft.graph
        self.draft = draft
        self.plan = plan
        self.steps = plan.steps
        self.assemblies: dict[Node, Assembly] = {}
        self.due: dict[Task, list[Assembly]] = {}
        self.absorbed: set[Node] = set()
        self.called = {step for step in plan.steps if isinstance(step, Node)}
        self.users: dict[Node, list[Node]] = {}
        self.targets = targets(draft) if draft.in_place else {}
        self.taken: dict[Node, View] = {}
        self.final: set[Task] = set()
        self.ordered = bool(self.targets) or any(is_assembled(node) or adds(node) for node in self.called)
        if self.ordered:
            self.order = Order(graph, plan)
            self.users = _users(graph)
            self.kept = _kept(graph)
            # of values that lie in another's memory: what must come before the first write, and behind the last read;
            # and what lies there before
            self.lead: dict[Node, list[Task]] = {}
            self.tail: dict[Node, list[Task]] = {}
            self.over: dict[Node, Over] = {}
            if self.targets:
                self.shown = {source for root in graph.roots() for source in self.order.sources(root)}
                self.failing = [step for step in self.steps if can_fail(step, draft.strict)]
            self.within: dict[Node, Assembly] = {}
            for node in reversed(graph.nodes):
                if node in self.called and node not in self.absorbed:
                    self._assemble(node)

    def _assemble(self, node: Node) -> None:
        """Find out what an array is put together from, and note which step reads that."""
        if adds(node):
            self.assemblies[node] = Assembly(node, node.inputs[0], [], True, rest=[()])
        elif is_assembled(node):
            assembly = self.assemblies[node] = disassemble(node, self._absorb)
            for step in (node, *assembly.absorbed):  # arrays full of one number aren't read
                self.order.merge(step, node, (assembly.base, *(value for value, _ in assembly.parts)))

    def visit(self, node: Node) -> None:
        """Place a value, and what can lie in its memory."""
        if node.op.kind == "source":
            if not self.ordered or node in self.kept or self.order.readers.get(node):
                self.draft.place_source(node)
            return
        if node.op.kind == "view" or node in self.absorbed:
            return
        if node not in self.draft.views:
            if node in self.assemblies and node not in self.kept and self._lies_there(self.assemblies[node]):
                return
            if node not in self.targets or not self._takes_over(node, *self.targets[node]):
                self.draft.place_new(node)
        if node in self.assemblies:
            self._settle(node)

    def _takes_over(self, value: Node, target: Node, view: View) -> bool:
        """Let a value lie in the memory of the input that it will be written to, if it can; orders the steps so."""
        order = self.order
        home, over = order.home[value], [(target, list(order.readers.get(target, ())))]
        if len(self.failing) > FAILING or target in self.shown or not self._writable(value, view):
            return False
        if not all(order.before(step, home) for step in self.failing) or not self._gives_way(over, home, value, view):
            return False
        self.taken[target] = view
        self._put(value, view, None, self.failing, [], over)
        return True

    def _lies_there(self, assembly: Assembly) -> bool:
        """Whether the parts of a `cat` lie side by side already, as parts of another array or slices of one."""
        if assembly.base is not None or not all(isinstance(value, Node) for value, _ in assembly.parts):
            return False
        shown = [self._shown(value) for value, _ in assembly.parts if isinstance(value, Node)]
        views = [view for view in shown if view is not None]
        whole = joined(views, assembly.node.attr("axis")) if len(views) == len(shown) else None
        if whole is None:
            return False
        self.draft.views[assembly.node] = whole
        assembly.placed.update(range(len(views)))
        return True

    def _shown(self, value: Node) -> View | None:
        """Where a value, or what it is a view of, has been placed; None also where it is written over later."""
        chain = [value]
        while chain[-1].op.kind == "view":
            chain.append(next(chain[-1].parents()))
        view = self.draft.views.get(chain[-1]) if not self.tail.get(chain[-1]) else None
        for node in reversed(chain[:-1]):
            view = None if view is None else apply_view(node, view)
        return view

    def _settle(self, node: Node) -> None:
        """Decide what lies in the memory of an assembled array, or of a sum with a product."""
        assembly, view = self.assemblies[node], self.draft.views[node]
        lead: list[Task] = [*self.lead.get(node, ())]
        over = [(old, [reader for reader in found if reader is not node]) for old, found in self.over.get(node, ())]
        changes: list[Task] = [node]
        base = assembly.base
        if isinstance(base, Node):
            if any(old is base for old, _ in over):  # the input that is written
                assembly.rest = []
            elif self._replaces(assembly, base, lead, over):
                self._put(base, view, self.within.get(node), lead, changes, over)
                lead.append(self.order.home[base])
                over.append((base, [reader for reader in self.order.readers[base] if reader is not node]))
                assembly.rest = []
            else:
                lead += [self.order.home[s] for s in self.order.sources(base) if s in self.order.home]
        for number, (value, index) in enumerate(assembly.parts):
            found = self._placeable(node, value, index, lead, over) if assembly.apart else None
            if found is not None:
                self._put(*found, assembly, lead, self.tail.get(node, []), over)
                assembly.placed.add(number)
                changes.append(self.order.home[found[0]])

    def _put(self, value: Node, view: View, outer: Assembly | None, lead: list[Task], tail: list[Task], over: Over) \
            -> None:
        """Let a value lie in the memory of `outer`'s result, where it is written from its step on."""
        self.draft.views[value] = view
        self.lead[value], self.tail[value], self.over[value] = [*lead], tail, [*over]
        if view.buffer.kind == "input":
            self.final.add(self.order.home[value])
        if outer is not None:
            self.within[value] = outer
            self._written(outer, self.order.home[value])

    def _gives_way(self, over: Over, home: Task, value: Node, view: View) -> bool:
        """Whether what lies at `view` before isn't read any more when a value's step writes there; orders the steps
        so. The step itself may read what it replaces."""
        for old, readers in over:
            for reader in readers:
                if reader is home:
                    if not self._in_step(home, value, view, old):
                        return False
                elif not self.order.before(reader, home):
                    return False
        return True

    def _in_step(self, home: Task, value: Node, view: View, old: Node) -> bool:
        under, sources = self.draft.views[old], self.order.sources
        if isinstance(home, Group):
            return in_step(home, value, view, old, under, self.plan.inlined, sources)
        assembly = self.assemblies.get(home)
        return assembly is not None and assembly.base is old and under == view \
            and not any(old in sources(v) for v in assembly.copied if isinstance(v, Node))

    def _written(self, assembly: Assembly | None, task: Task) -> None:
        while assembly is not None:
            assembly.writers.append(task)
            assembly = self.within.get(assembly.node)

    def _absorb(self, later: Node, earlier: Node) -> bool:
        """Whether a slice write that only another slice write reads can be one with it."""
        if self.users.get(earlier) != [later] or earlier in self.kept or earlier not in self.called:
            return False
        self.absorbed.add(earlier)
        return True

    def _movable(self, value: Node, view: View) -> bool:
        """Whether a value may lie at a place in another's memory."""
        return value in self.order.home and value not in self.draft.views and value not in self.kept \
            and self._writable(value, view)

    def _writable(self, value: Node, view: View) -> bool:
        """Whether a value has a kernel or a product that could write it to a place in another's memory."""
        if value.type.dtype is not view.buffer.dtype or not value.type.numel or not self._viewable(value, view):
            return False
        if value in self.called:
            return is_assembled(value) or (
                not self.draft.strict and (is_product(value) or adds(value)) and takes(view))
        # reductions and scatters fill their result before they run: they take it for a contiguous array
        return value.op.kind in ("pointwise", "gather") or (view.offset == 0 and view.is_row_major)

    def _viewable(self, value: Node, view: View) -> bool:
        """Whether everything that is a view of a value can be one where it would lie."""
        if view.is_row_major:
            return True
        stack = [(value, view)]
        while stack:
            node, where = stack.pop()
            for user in self.users.get(node, ()):
                if user.op.kind == "view":
                    shown = apply_view(user, where)
                    if shown is None:
                        return False
                    stack.append((user, shown))
        return True

    def _replaces(self, assembly: Assembly, base: Node, lead: list[Task], over: Over) -> bool:
        """Whether the base can be changed where it lies, since nothing reads it any more; orders the steps so."""
        node, order, view = assembly.node, self.order, self.draft.views[assembly.node]
        if base.type.shape != node.type.shape or not self._movable(base, view) \
                or any(base in order.sources(v) for v in assembly.copied if isinstance(v, Node)):
            return False
        home = order.home[base]
        return all(order.before(first, home) for first in lead) and self._gives_way(over, home, base, view) \
            and all(order.before(reader, node) for reader in order.readers[base] if reader is not node)

    def _placeable(
        self, node: Node, value: Operand, index: tuple[object, ...], lead: list[Task], over: Over
    ) -> tuple[Node, View] | None:
        """The value behind a part and where it would lie, if its own step can write it there; orders the steps so."""
        target = part_of(self.draft.views[node], index)
        if not isinstance(value, Node) or value.type.shape != target.shape:
            return None
        while value.op.kind == "view":
            undone = undo_view(value, target)
            if undone is None:
                return None
            value, target = next(value.parents()), undone
        if not self._movable(value, target):
            return None
        home, before = self.order.home[value], self.order.before
        readers = [reader for reader in self.order.readers[value] if reader is not node]
        if all(before(first, home) for first in lead) and self._gives_way(over, home, value, target) \
                and all(before(reader, last) for last in self.tail.get(node, ()) for reader in readers):
            return value, target
        return None

    def schedule(self) -> None:
        """The final order, and the step before which each assembly begins."""
        if not self.ordered:
            return
        self.steps = [step for step in self.order.steps if step not in self.absorbed]
        position = {step: number for number, step in enumerate(self.steps)}
        for node, assembly in self.assemblies.items():
            if assembly.rest:
                first = min(position[task] for task in (node, *assembly.writers))
                self.due.setdefault(self.steps[first], []).append(assembly)


def _users(graph: Graph) -> dict[Node, list[Node]]:
    """The views of each value, and all that read a slice write."""
    users: dict[Node, list[Node]] = {}
    written = {node for node in graph.nodes if node.op.name == "slice_scatter"}
    for node in graph.nodes:
        if node.op.kind == "view" or (written and not written.isdisjoint(node.inputs)):
            for parent in node.parents():
                if node.op.kind == "view" or parent in written:
                    users.setdefault(parent, []).append(node)
    return users


def _kept(graph: Graph) -> set[Node]:
    """The values that leave the graph, and what they are views of."""
    kept: set[Node] = set()
    for node in graph.roots():
        while node not in kept:
            kept.add(node)
            if node.op.kind == "view":
                node = next(node.parents())
    return kept
