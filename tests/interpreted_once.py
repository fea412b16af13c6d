"""Triton's interpreter without its largest waste, for tests.

At each call of one program by another it looks through all of `triton.language` for functions to
put its own in place of, although the launch has done so before the first. Here it does so for each
function that a launch calls once. And for each value it works out anew what follows from the
value's type alone, in ten times the time of the arithmetic: here once for each type. Conditions of
assertions are left out where assertions are off.
"""

from collections.abc import Callable
from typing import Any


def patch_once() -> None:
    """Change the interpreter of this process; compiled programs know nothing of it."""
    look_through_once()
    remember_types()
    leave_out_checks_of_nothing()


def look_through_once() -> None:
    """Prepare each program that is called by another once a launch."""
    from triton.runtime import interpreter  # it reads TRITON_INTERPRET

    launch, call = interpreter.GridExecutor.__call__, interpreter.InterpretedFunction.__call__
    patched: set[Any] = set()

    def launch_anew(self: Any, *args: Any, **options: Any) -> Any:
        patched.clear()  # a launch takes back at its end what it has put in
        return launch(self, *args, **options)

    def call_again(self: Any, *args: Any, **options: Any) -> Any:
        if self.fn in patched:
            return self.rewrite()(*args, **options)
        patched.add(self.fn)
        return call(self, *args, **options)

    interpreter.GridExecutor.__call__ = launch_anew
    interpreter.InterpretedFunction.__call__ = call_again


def remember_types() -> None:
    """Keep what the constructors of blocks' types, of shapes and of values find out of a type."""
    from triton.language import core
    from triton.runtime import interpreter

    def plain(shape: Any) -> tuple[Any, ...]:
        return tuple([getattr(size, "value", size) for size in shape])

    remember(core.block_type, lambda element, shape: (element.name, plain(shape)))
    remember_result(core.block_type, "with_element_ty", lambda a, b: (a.name, b.name))
    semantic = interpreter.TritonSemantic
    pair = lambda _, a, a_is_scalar, b, *rest: (a.name, a_is_scalar, b.name, *rest)
    remember_result(semantic, "computation_type_impl", pair)
    leave_unchanged(semantic)
    remember(core.tensor, lambda handle, type: type.name, handle=0)
    numpy_type, known = interpreter._get_np_dtype, {}

    def known_numpy_type(type: Any) -> Any:
        if type.name not in known:
            known[type.name] = numpy_type(type)
        return known[type.name]

    interpreter._get_np_dtype = known_numpy_type


def remember_result(kind: Any, name: str, key: Callable[..., Any]) -> None:
    """Make a method that depends on `key` alone give the same object for the same key."""
    method, known = getattr(kind, name), {}

    def method_once(*args: Any) -> Any:
        told = key(*args)
        if told not in known:
            known[told] = method(*args)
        return known[told]

    setattr(kind, name, method_once)


def leave_unchanged(semantic: Any) -> None:
    """Remember between which types nothing is to be cast or broadcast."""
    cast, broadcast = semantic.cast, semantic.broadcast_impl_value
    same, fitting = set(), set()

    def cast_if_needed(self: Any, value: Any, to: Any, *rounding: Any) -> Any:
        told = value.type.name, to.name
        if told in same:
            return value
        found = cast(self, value, to, *rounding)
        if found is value:
            same.add(told)
        return found

    def broadcast_if_needed(self: Any, left: Any, right: Any) -> Any:
        told = left.type.name, right.type.name
        if told in fitting:
            return left, right
        found = broadcast(self, left, right)
        if found[0] is left and found[1] is right:
            fitting.add(told)
        return found

    semantic.cast, semantic.broadcast_impl_value = cast_if_needed, broadcast_if_needed


def leave_out_checks_of_nothing() -> None:
    """Compute no condition of an assertion about overflow where assertions are off, as they are."""
    from triton.language.semantic import TritonSemantic

    check = TritonSemantic.binary_op_sanitize_overflow_impl

    def check_if_read(self: Any, *args: Any) -> None:
        if self.builder.options.debug:
            check(self, *args)

    TritonSemantic.binary_op_sanitize_overflow_impl = check_if_read


def remember(kind: Any, key: Callable[..., Any], **own: int) -> None:
    """Make a class's constructor copy what it did for the same key; `own` are attributes that are
    arguments, by their place."""
    construct, known = kind.__init__, {}

    def construct_once(self: Any, *args: Any) -> None:
        told = key(*args)
        if told not in known:
            construct(self, *args)
            known[told] = dict(vars(self))
            return
        vars(self).update(known[told])
        for name, place in own.items():
            setattr(self, name, args[place])

    kind.__init__ = construct_once
