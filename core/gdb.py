# How gdb shows tensors and the ops behind them. .gdbinit loads this file.
#
#     (gdb) print x      Tensor (2, 3) relu, requires_grad, grad yes, [0.1, 0, 2, 0, 0, 1.2] nan: 0
#     (gdb) graph x      the tree of ops behind x; names its tensors $t0, $t1, ... to print later
#     (gdb) grad x       the gradient of x, as a tensor is shown
#
# Everything is read from memory: no function of the program is called, so it works on core files.
import gdb

SHOWN = 6          # numbers of a tensor, and rows of a row gradient, that are printed
COUNTED = 1000000  # numbers that are searched for NaN
LINES = 200        # of a graph


def pointer(smart):
    """The raw pointer in a std::shared_ptr or std::unique_ptr."""
    if smart.type.strip_typedefs().name.startswith('std::shared_ptr'):
        return smart['_M_ptr']
    # A unique_ptr is nothing but the pointer, under several layers.
    target = smart.type.strip_typedefs().template_argument(0)
    return smart.address.cast(target.pointer().pointer()).dereference()


def items(vector):
    """The elements of a std::vector."""
    first, last = vector['_M_impl']['_M_start'], vector['_M_impl']['_M_finish']
    return [first[i] for i in range(int(last - first))]


def shape_text(impl):
    return '(' + ', '.join(str(int(n)) for n in items(impl['shape'])) + ')'


def numbers(storage, size):
    """The first numbers, and how many are NaN."""
    data = storage['data']
    width = data.type.target().sizeof
    count = min(size, COUNTED)
    raw = gdb.selected_inferior().read_memory(int(data), count * width) if count else b''
    values = memoryview(bytes(raw)).cast('f' if width == 4 else 'd')
    shown = ['%.4g' % v for v in values[:SHOWN]] + (['...'] if size > SHOWN else [])
    nan = sum(1 for v in values if v != v)
    more = '+' if size > COUNTED else ''
    return '[%s] nan: %d%s' % (', '.join(shown), nan, more)


def op_of(impl):
    node = pointer(impl['node'])
    if node:
        return node['op'].string()
    return '(graph used)' if impl['graph_used'] else 'leaf'


def tensor_text(tensor):
    impl = pointer(tensor['impl'])
    if not impl:
        return 'Tensor undefined'
    impl = impl.dereference()
    has_grad = pointer(impl['grad']) or pointer(impl['row_grad'])
    return 'Tensor %s %s%s, grad %s, %s' % (
        shape_text(impl), op_of(impl), ', requires_grad' if impl['requires_grad'] else '',
        'yes' if has_grad else 'no', numbers(pointer(impl['data']), int(impl['size'])))


def node_text(node):
    inputs = []
    for x in items(node['inputs']):
        impl = pointer(x['impl'])
        inputs.append(shape_text(impl) + ' ' + op_of(impl) if impl else 'undefined')
    return '%s #%d of %s' % (node['op'].string(), int(node['number']), ', '.join(inputs))


class TensorPrinter:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        try:
            return tensor_text(self.value)
        except (gdb.error, ValueError, UnicodeDecodeError):
            return 'Tensor not constructed yet'


class NodePrinter:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        try:
            return node_text(self.value)
        except (gdb.error, ValueError, UnicodeDecodeError):
            return 'Node not constructed yet'


class NodePointerPrinter:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        node = pointer(self.value)
        return NodePrinter(node.dereference()).to_string() if node else 'no node'


def is_node(kind):
    """Is the type slim::Node, or derived from it?"""
    if kind.code != gdb.TYPE_CODE_STRUCT:
        return False
    if kind.name == 'slim::Node':
        return True
    return any(field.is_base_class and is_node(field.type.strip_typedefs())
               for field in kind.fields())


def find_printer(value):
    kind = value.type
    if kind.code == gdb.TYPE_CODE_REF:
        kind = kind.target()
    kind = kind.unqualified().strip_typedefs()
    if kind.name == 'slim::Tensor':
        return TensorPrinter(value)
    if kind.name == 'std::shared_ptr<slim::Node>':
        return NodePointerPrinter(value)
    return NodePrinter(value) if is_node(kind) else None


def tensor_argument(text):
    value = gdb.parse_and_eval(text)
    if value.type.code in (gdb.TYPE_CODE_REF, gdb.TYPE_CODE_PTR):
        value = value.referenced_value()
    if value.type.unqualified().strip_typedefs().name != 'slim::Tensor':
        raise gdb.GdbError('%s is a %s; it must be a slim::Tensor' % (text, value.type))
    if not pointer(value['impl']):
        raise gdb.GdbError('%s is undefined' % text)
    return value


class Graph(gdb.Command):
    """graph TENSOR: the tree of ops behind it, each with the shape of its result.

The tensors get the names $t0, $t1, ... by which they can be printed afterwards."""

    def __init__(self):
        super().__init__('graph', gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        # By hand instead of by recursion: a chain of ops may be longer than Python's stack.
        pending, names = [(tensor_argument(argument), 0)], {}
        while pending:
            tensor, depth = pending.pop()
            impl = pointer(tensor['impl'])
            if not impl:
                continue  # an absent bias
            indent = '  ' * min(depth, 40)
            if int(impl) in names:
                print('%s%s again' % (indent, names[int(impl)]))
                continue
            if len(names) == LINES:
                print('... and more')
                return
            name = names[int(impl)] = '$t%d' % len(names)
            gdb.set_convenience_variable(name[1:], tensor)
            node = pointer(impl['node'])
            number = ' #%d' % int(node['number']) if node else ''
            wants = ', requires_grad' if not node and impl['requires_grad'] else ''
            print('%s%s = %s%s %s%s' % (indent, name, op_of(impl), number, shape_text(impl), wants))
            if node:
                pending += [(x, depth + 1) for x in reversed(items(node['inputs']))]


class Grad(gdb.Command):
    """grad TENSOR: what is in its gradient."""

    def __init__(self):
        super().__init__('grad', gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        impl = pointer(tensor_argument(argument)['impl'])
        if pointer(impl['row_grad']):
            rows = items(pointer(impl['row_grad'])['rows'])
            print('gradient of %d rows: %s' % (len(rows), ', '.join(str(r) for r in rows[:SHOWN])))
        elif pointer(impl['grad']):
            print('gradient %s %s' % (shape_text(impl),
                                      numbers(pointer(impl['grad']), int(impl['size']))))
        else:
            print('no gradient')



def register(objfile):
    # Per object file: gdb asks these printers first. Otherwise the standard library's printer for
    # shared_ptr would take std::shared_ptr<Node>.
    if find_printer not in objfile.pretty_printers:
        objfile.pretty_printers.insert(0, find_printer)


for known in gdb.objfiles():
    register(known)
gdb.events.new_objfile.connect(lambda event: register(event.new_objfile))
gdb.pretty_printers.insert(0, find_printer)
Graph()
Grad()

# `step` goes into the code of this project, not into the standard library's.
for headers in ('/usr/include/c++/*/*', '/usr/include/c++/*/*/*'):
    gdb.execute('skip -gfi ' + headers, to_string=True)
