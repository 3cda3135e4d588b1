"""Calls of the vocabulary as text, and the tensors that they name: for comparison with torch, differences and NumPy.

A case is an expression in `m` (retape or torch), `F` (`m.nn.functional`), `L` (`m.linalg`), `T` (`m.fft`) and named
samples. The same text is evaluated on both, so that signatures are compared, too.
"""

from __future__ import annotations

import ast
from functools import cache
from typing import Any

import numpy as np

_rng = np.random.default_rng(2024)


def _uniform(low: float, high: float, *shape: int) -> np.ndarray[Any, Any]:
    return np.asarray(_rng.uniform(low, high, shape))


def _spread(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Numbers that are no ties: a shuffled even spacing from -2 to 2."""
    values = np.linspace(-2.0, 2.0, int(np.prod(shape))) + 0.013
    return np.asarray(_rng.permutation(values).reshape(shape))


_square = _uniform(-1, 1, 2, 3, 3) + 3 * np.eye(3)

SAMPLES: dict[str, np.ndarray[Any, Any]] = {
    "x": _spread((3, 4)), "y": _spread((3, 4)), "p": _uniform(0.3, 3, 3, 4), "u": _uniform(0.1, 0.9, 3, 4),
    "w": _uniform(-2, 2, 4), "col": _uniform(-2, 2, 3, 1), "s": np.asarray(1.25), "one": _uniform(-1, 1, 1),
    "z": np.zeros((0, 4)), "xt": _spread((4, 3)).T, "strided": _spread((3, 8))[:, ::2], "turned": _spread((3, 4))[::-1],
    "wide": np.broadcast_to(_spread((4,)), (3, 4)),
    "X": _spread((2, 3, 4)), "Y": _spread((2, 3, 4)), "W": _uniform(-1, 1, 4, 5), "V": _uniform(-1, 1, 5),
    "ties": np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0], [0.0, -1.0, 0.0, 5.0]]),
    "odd": np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.5, 2.5]),
    "zeros": np.array([0.0, 2.0, 0.0, -3.0]),
    "A": _square, "B": _uniform(-1, 1, 2, 3, 2), "spd": _square @ _square.swapaxes(-1, -2) + np.eye(3),
    "rect": _uniform(-1, 1, 2, 4, 3) + 3 * np.eye(4, 3), "flat": _uniform(-1, 1, 2, 3),
    "img": _spread((2, 4, 6, 5)), "sig": _spread((2, 4, 9)), "k1": _uniform(-1, 1, 6, 4, 3),
    "k2": _uniform(-1, 1, 6, 4, 3, 2), "kg": _uniform(-1, 1, 6, 2, 3, 2), "kt": _uniform(-1, 1, 4, 3, 3, 2),
    "bias": _uniform(-1, 1, 6), "ch": _uniform(0.5, 1.5, 4), "sh": _uniform(-1, 1, 4),
    "table": _uniform(-1, 1, 7, 3), "scores": _spread((5, 4)), "space": _spread((2, 4, 3)),
    "q": _uniform(-1, 1, 2, 5, 4), "kk": _uniform(-1, 1, 2, 6, 4), "vv": _uniform(-1, 1, 2, 6, 3),
    "prob": np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1]]),
    "c": _uniform(-1, 1, 3, 4) + 1j * _uniform(-1, 1, 3, 4), "d": _uniform(1, 2, 3, 4) + 1j * _uniform(-1, 1, 3, 4),
    "i": _rng.integers(-5, 6, (3, 4)), "j": _rng.integers(1, 5, (3, 4)), "i8": _rng.integers(-5, 6, (3, 4)).astype(np.int8),
    "u8": _rng.integers(0, 9, (3, 4)).astype(np.uint8), "b": _rng.integers(0, 2, (3, 4)).astype(bool),
    "bb": _rng.integers(0, 2, (3, 4)).astype(bool), "idx": np.array([2, 0, 2]), "cls": np.array([1, 3, 0, 2, 3]),
    "gi": np.array([[0, 1, 2, 0], [2, 2, 0, 1]]), "si": np.array([[2, 1, 0, 0], [0, 2, 1, 2], [1, 0, 2, 1]]),
    "cls2": np.array([[0, 3, -100], [2, -100, 1]]), "sign": np.array([1.0, -1.0, 1.0]),
    "f32": _uniform(-1, 1, 3, 4).astype(np.float32), "f64": _uniform(-1, 1, 3, 4),
}
FIXED = {"f32", "f64"}  # samples whose element type is what they are for

_UNARY = ("neg abs sign sgn square exp exp2 expm1 sin cos tan asinh atan sinh cosh tanh sigmoid erf erfc sinc floor ceil "
          "round trunc frac deg2rad rad2deg relu isnan isinf isfinite signbit logical_not positive nan_to_num angle "
          "real conj digamma lgamma")
_POSITIVE = "sqrt rsqrt reciprocal log log2 log10 log1p digamma lgamma"
_UNIT = "asin acos atanh logit"
_BINARY = ("add sub mul div true_divide floor_divide remainder fmod atan2 hypot logaddexp logaddexp2 maximum minimum fmax "
           "fmin eq ne lt le gt ge logical_and logical_or logical_xor copysign xlogy")
_ODD = ("abs sign exp expm1 log1p sqrt tanh sigmoid erf floor ceil round trunc relu isnan isinf isfinite sinc signbit "
        "nan_to_num frac logit square reciprocal")


def _elementwise() -> list[str]:
    cases = [f"m.{n}(x)" for n in _UNARY.split()] + [f"m.{n}(p)" for n in _POSITIVE.split()]
    cases += [f"m.{n}(u)" for n in _UNIT.split()] + [f"m.{n}(x, p)" for n in _BINARY.split() if n != "xlogy"]
    cases += [f"m.{n}(odd)" for n in _ODD.split()] + [f"x.{n}()" for n in ("exp", "sinc", "frac", "trunc")]
    for name in ("exp", "sigmoid", "floor", "neg", "reciprocal"):
        cases += [f"m.{name}({sample})" for sample in ("s", "z", "xt", "strided", "turned", "wide", "i")]
    for name in ("add", "mul", "div", "maximum", "remainder", "fmod", "floor_divide"):
        cases += [f"m.{name}({pair})" for pair in (
            "x, w", "col, w", "x, s", "s, w", "xt, turned", "z, w", "i, j", "i, p", "i8, j", "u8, i8", "f32, f64",
            "x, 2", "i, 2", "i, 2.5", "wide, strided")]
    cases += [f"{a} {op} {b}" for op in ("+", "-", "*", "/", "//", "%", "**") for a, b in (("x", "p"), ("p", "2"), ("i", "j"),
                                                                                     ("3", "p"), ("p", "1.5"))]
    cases += [f"{a} {op} {b}" for op in ("==", "!=", "<", "<=", ">", ">=") for a, b in (("x", "y"), ("i", "2"), ("1", "x"))]
    cases += [f"{a} {op} {b}" for op in ("&", "|", "^") for a, b in (("b", "bb"), ("i", "j"), ("u8", "3"), ("b", "True"))]
    cases += ["i << 2", "i >> 1", "j << j", "~i", "~b", "~u8", "-x", "abs(x)", "abs(i)", "i8 - u8", "u8 + u8", "x @ w", "-i8"]
    return cases + """
        m.pow(p, x) m.pow(p,0) m.pow(x,2) m.pow(x,3) m.pow(2,x) m.pow(i,2) m.float_power(i,2) m.float_power(p,x) p**0.5
        m.add(x,y,alpha=2) m.sub(x,y,alpha=0.5) m.div(x,p,rounding_mode='floor') m.div(x,p,rounding_mode='trunc')
        m.div(i,j,rounding_mode='floor') m.div(i,j,rounding_mode='trunc') m.div(i,j) m.true_divide(i,2)
        m.clamp(x,-0.5,0.5) m.clamp(x,min=0) m.clamp(x,max=0.25) m.clip(x,-1,1) m.clamp_min(x,0.1) m.clamp_max(x,0.1)
        m.clamp(x,y,y+1) m.clamp(i,0,2) m.clamp(i,0.5,2) m.clamp(ties,0.0,2.0) x.clamp(-1,1)
        m.lerp(x,y,0.3) m.lerp(x,y,u) m.addcmul(x,y,p,value=0.5) m.addcdiv(x,y,p,value=2) m.where(b,x,y) m.where(x>0,x,0.0)
        m.where(b,i,2.5) m.where(b,x,s) m.round(x,decimals=1) m.heaviside(x,s) m.heaviside(zeros,w) m.copysign(x,-1.0)
        m.xlogy(p,u) m.xlogy(zeros,w*w) m.xlogy(2.0,p) m.logit(x,eps=0.1) m.polygamma(1,p) m.polygamma(2,p) p.polygamma(1)
        m.mvlgamma(p+2,2) m.isclose(x,x+1e-9) m.allclose(x,x) m.equal(x,y) m.nan_to_num(odd,1.0,2.0,3.0)
        m.masked_fill(x,b,2.5) x.masked_fill(b,s) m.maximum(ties,ties) m.minimum(ties,ties) m.fmax(odd,s) m.fmin(odd,s)
        m.bitwise_and(i,j) m.bitwise_or(i,j) m.bitwise_xor(i,j) m.bitwise_not(i) m.bitwise_left_shift(j,j)
        m.bitwise_right_shift(i,j) m.logaddexp(odd,odd) m.logaddexp(ties,ties) m.complex(x,y) m.polar(p,x) m.abs(c) m.angle(c)
        m.real(c) m.imag(c) c.real c.imag c+d c-d c*d c/d c*x x*c c*2.0 2j*c c*1j m.exp(c) m.log(d) m.sqrt(d) m.sin(c)
        m.cos(c) m.tanh(c) c**2 d**1.5 m.conj(c) m.sgn(c) m.view_as_real(c) m.sum(c) m.mean(c) m.prod(d) c@d.T c==d
        m.reciprocal(d) m.square(c) c.sum(1) m.abs(c).sum() m.is_complex(c) m.is_floating_point(x) m.is_tensor(x)
        m.numel(x) m.promote_types(m.int8,m.uint8) m.result_type(i,2.5) i.float() x.double() x.to(m.int64) b.long()
        i.to(m.float64) x.type_as(i) b.float() c.to(m.complex64) x.bool()
    """.split("\n")


_REDUCTIONS = """
    m.sum(x) m.sum(x,1) m.sum(x,dim=0,keepdim=True) m.sum(X,(0,2)) x.sum(-1) m.sum(i) m.sum(b) m.sum(z) m.sum(z,0)
    m.sum(x,dtype=m.float64) m.sum(s) m.sum(xt,0) m.sum(turned,1) m.sum(wide,0) m.mean(x) m.mean(x,1) m.mean(X,(0,1))
    m.mean(z) m.mean(strided,0,True) m.prod(x) m.prod(x,1) m.prod(zeros) m.prod(i,1) m.prod(z) m.var(x) m.var(x,1)
    m.var(x,1,correction=0) m.var(x,unbiased=False) m.var(x,dim=(0,1),keepdim=True) m.std(x) m.std(x,0) m.std(x,1,correction=0)
    m.std(ties,1) m.var_mean(x,1)[0] m.var_mean(x,1)[1] m.std_mean(x)[0] m.amax(x) m.amax(x,1) m.amin(x,(0,1)) m.amax(ties,1)
    m.amin(ties,1) m.max(x) m.max(ties) m.min(ties) m.max(x,1)[0] m.max(x,1)[1] m.min(x,0,True)[0] m.min(x,0)[1] m.max(ties,1)[0]
    m.max(ties,1)[1] m.min(ties,1)[1] m.max(x,y) m.min(x,y) m.max(i) m.max(i,1)[0] m.argmax(x) m.argmax(x,1) m.argmin(x)
    m.argmin(x,0,True) m.argmax(ties,1) m.argmin(ties,1) m.argmax(i) m.argmin(u8) m.argmin(i8,1) m.any(b) m.any(b,1) m.all(b)
    m.all(b,0) m.any(x) m.all(x,1) m.all(z) m.any(z) m.count_nonzero(ties) m.count_nonzero(ties,1) m.norm(x) m.norm(x,1)
    m.norm(x,3) m.norm(x,float('inf')) m.norm(x,2,1) m.norm(x,1,0,True) m.norm(x*0) m.norm(x,0) m.norm(x,2,(0,1)) x.norm()
    m.logsumexp(x,1) m.logsumexp(X,(0,2)) m.logsumexp(x,0,True) m.logsumexp(odd[1:4],0) m.logsumexp(z,0) m.median(x) m.median(x,1)[0]
    m.median(x,1)[1] m.median(ties) m.median(i) m.nanmedian(odd) m.median(odd) m.quantile(x,0.3) m.quantile(x,0.5,1)
    m.quantile(p,m.tensor([0.1,0.5],dtype=p.dtype),1) m.quantile(x,0.4,1,interpolation='lower') m.nansum(odd[[0,3,5]]) m.nanmean(odd[[0,3,5]])
    m.cumsum(x,0) m.cumsum(x,1) m.cumsum(i,1) m.cumsum(b,1) m.cumsum(z,1) m.cumprod(x,1) m.cumprod(zeros,0) m.cumprod(i,1) m.cumprod(s,0)
    m.cummax(x,1)[0] m.cummax(x,0)[1] m.cummax(ties,1)[1] m.cummin(x,1)[0] m.cummin(ties,1)[1] m.cummin(i,1)[0] m.cummax(odd,0)[0]
    m.cummax(odd,0)[1] m.logcumsumexp(x,1) m.logcumsumexp(x*100,0) m.diff(x) m.diff(x,2,0) m.diff(b,dim=1) m.dist(x,y) m.dist(x,y,1)
    m.aminmax(x,dim=1)[0] m.aminmax(x)[1] m.trapezoid(x) m.trapezoid(x,dx=0.5,dim=0) m.trapezoid(x,w.cumsum(0)) m.cov(x)
    m.corrcoef(x) m.cdist(x,y) m.cdist(x,y,1.0) m.softmax(x,1) m.softmax(X,0) m.softmax(odd[3:],0) m.log_softmax(x,1) m.log_softmax(x*1000,0)
    x.softmax(-1) m.softmax(z,1) m.softmax(x,1,dtype=m.float64) m.var(one) m.std(one)
"""

_PRODUCTS = """
    m.matmul(x,W) m.matmul(X,W) m.matmul(w,W) m.matmul(x,w) m.matmul(w,w) m.matmul(X,y.T) x@W X@Y.mT m.mm(x,W) m.mm(x,y)
    m.bmm(X,Y.transpose(1,2)) m.mv(x,w) m.dot(w,w) m.outer(w,V) m.inner(x,y) m.inner(w,w) m.addmm(flat@flat.T,flat,flat.T,beta=0.5,alpha=2)
    m.addmv(col[:,0],x,w) m.addr(x,col[:,0],w) m.baddbmm(A,A,A,beta=0.3) m.addbmm(A[0],A,A) m.einsum('ij,kj->ik',x,y) m.einsum('ij,ij->',x,y)
    m.einsum('bij,bkj->bik',X,Y) m.einsum('ij->ji',x) m.einsum('ii->i',A[0]) m.einsum('ii',A[0]) m.einsum('bij->bj',X) m.einsum('i,j->ij',w,V)
    m.einsum('...ij,jk->...ik',X,W) m.einsum('ij,j,k->ik',x,w,V) m.einsum('ij,jk,kl->il',x,W,W.T) m.einsum('ij,ij->i',x,y) m.einsum('a...,a...->...',x,y)
    m.einsum('bij,bjk->bik',A,B) m.einsum('ij,kj',x,y) m.einsum('ij,k->kij',x,V) m.tensordot(x,W,1) m.tensordot(X,Y,dims=([1,2],[1,2]))
    m.tensordot(x,y,2) m.kron(flat,x) m.kron(w,V) m.cross(rect[0].T[:,:3],A[0][:3],dim=0) m.cross(A,A.flip(1),dim=-1) m.chain_matmul(x,W,W.T)
    F.linear(x,W.T) F.linear(X,W.T,V) F.bilinear(x,y,kg.reshape(-1)[:32].reshape(2,4,4)) L.multi_dot([x,W,W.T]) L.vecdot(x,y) L.vecdot(c,d)
    m.matmul(x,y) m.mm(X,W) m.bmm(x,y) m.dot(x,w) x@x m.einsum('ij,jk->ik',x,y) m.matmul(i,j.T) m.matmul(z.T,z) m.matmul(z,W)
"""

_SHAPES = """
    x.reshape(4,3) x.reshape(-1) x.reshape((2,-1)) x.view(2,6) xt.reshape(12) x.reshape(5,-1) xt.view(12) x.view_as(y) m.permute(X,(2,0,1)) X.permute(1,0,2)
    m.transpose(X,0,2) m.swapaxes(x,0,1) m.swapdims(x,0,1) x.t() x.T X.mT m.squeeze(col) m.squeeze(col,1) m.squeeze(x,0) m.unsqueeze(x,1) x.unsqueeze(-1)
    x.unsqueeze(4) col.expand(3,4) col.expand(-1,2) w.expand(3,4) col.expand_as(x) m.broadcast_to(w,(3,4)) x.expand(2,4) m.flatten(X) m.flatten(X,1)
    m.flatten(s) m.unflatten(x,1,(2,2)) m.unflatten(x,1,(2,-1)) m.ravel(xt) m.movedim(X,0,2) m.movedim(X,(0,1),(2,0)) m.moveaxis(X,-1,0) m.flip(x,(0,1))
    x.flip(0) m.flip(X,[1]) m.fliplr(x) m.flipud(x) m.roll(x,1) m.roll(x,1,0) m.roll(x,(1,-2),(0,1)) m.rot90(x) m.rot90(x,2) m.rot90(x,3) m.rot90(X,1,(1,2))
    m.tile(x,(2,)) m.tile(x,(2,1,3)) x.repeat(2,1) x.repeat(2,2,3) x.repeat(2) m.repeat_interleave(x,2) m.repeat_interleave(x,2,1)
    m.repeat_interleave(x,m.tensor([1,0,2]),0) x.unfold(1,2,1) x.unfold(1,3,2) X.unfold(2,2,2) x.unfold(0,2,1) x.unfold(1,5,1) m.diagonal(x) m.diagonal(x,1) m.diagonal(x,-1)
    m.diagonal(X,0,1,2) m.diagonal(xt,0) m.diag(w) m.diag(w,1) m.diag(w,-2) m.diag(x) m.diag(x,1) m.diag_embed(x) m.diag_embed(x,1) m.diag_embed(x,0,0,2)
    m.trace(A[0]) m.tril(x) m.tril(X,-1) m.triu(x,1) m.triu(b) m.tril(i) m.tril_indices(3,4) m.triu_indices(3,4,1) m.split(x,2,1)[1] m.split(x,3,1)[1] m.split(x,[1,3],1)[1]
    m.chunk(x,2,1)[0] m.chunk(w,3)[1] m.tensor_split(w,3)[0] m.tensor_split(x,(1,3),1)[1] m.narrow(x,1,1,2) m.narrow(x,1,3,2) m.select(x,1,2) m.unbind(x,1)[2] m.cat([x,y])
    m.cat((x,y),1) m.cat([x,i]) m.cat([z,x]) m.cat([x,w]) m.concat([x,y],-1) m.stack([x,y]) m.stack([x,y],1) m.stack([x,y],-1) m.stack([x,w]) m.hstack([x,y]) m.hstack([w,V])
    m.vstack([x,w]) m.dstack([x,y]) m.column_stack([w,x.T]) m.block_diag(x,flat) m.atleast_1d(s) m.atleast_2d(w) m.atleast_3d(x) m.meshgrid(w,V,indexing='ij')[0]
    m.meshgrid(w,V,indexing='xy')[1] m.cartesian_prod(w,V) m.combinations(w,2) m.combinations(w,2,True) m.broadcast_tensors(col,w)[0] m.vander(w) m.vander(w,3,True)
    m.clone(x) xt.contiguous() x[0] x[1:,::2] x[...,1] x[:,None] x[-1] x[1,2] x[idx] x[idx,idx] x[:,idx] X[:,idx] X[idx-1,:,idx] X[:,idx,idx] x[b] x[b.any(1)] x[x>0] x[idx,1:3]
    X[0,:,idx] x[None,idx] X[...,idx] x[[0,2]] x[idx,None] x[3] x[m.tensor([3])] x[0:2,m.tensor([1,2])] x[gi[:,:2]] s[None] s[...]
    m.gather(x,0,gi) m.gather(x,1,si) x.gather(1,si) m.take_along_dim(x,si,1) m.take_along_dim(x,m.argsort(x,1),1) m.take(x,si) m.index_select(x,0,idx) m.index_select(x,1,idx)
    m.scatter(x,0,gi[:1],y) m.scatter(x,1,si[:,:3],y) m.scatter(x,1,si[:,:1],1.5) m.scatter_add(x,0,gi,y) m.scatter_add(x,1,si,y) x.scatter_reduce(1,si,y,'sum')
    x.scatter_reduce(1,si,y,'mean') x.scatter_reduce(1,si,y,'sum',include_self=False) x.scatter_reduce(1,si,y,'mean',include_self=False) m.index_add(x,0,idx,y) m.index_add(x,1,idx,y[:,:3],alpha=2)
    m.index_copy(x,0,idx[:2],y[:2]) m.index_fill(x,0,idx,2.0) m.index_fill(x,1,idx,s) m.index_put(x,(idx[:2],idx[:2]),w[:2]) m.index_put(x,(idx,),y,accumulate=True) m.index_put(x,(b,),s)
    m.masked_select(x,b) m.masked_scatter(x,b,y) m.nonzero(b) m.nonzero(ties) m.argwhere(b) m.nonzero(b,as_tuple=True)[1] m.sort(x)[0] m.sort(x)[1] m.sort(x,0,True)[0] m.sort(ties,1,stable=True)[1]
    m.sort(ties,dim=1,descending=True,stable=True)[1] m.sort(odd)[0] m.sort(i,1)[0] m.msort(x) m.argsort(x) m.argsort(x,0,True) m.topk(x,2)[0] m.topk(x,2)[1] m.topk(x,2,0,False)[0] m.topk(x,9)
    m.kthvalue(x,2)[0] m.kthvalue(x,2,0,True)[1] m.kthvalue(x,9) m.unique(ties) m.unique(i) m.unique(ties,return_inverse=True)[1] m.unique(ties,return_counts=True)[1] m.unique_consecutive(ties)
    m.searchsorted(w.sort()[0],x) m.searchsorted(w.sort()[0],x,right=True) m.searchsorted(x.sort(1)[0],y) m.bucketize(x,w.sort()[0]) m.bincount(idx) m.bincount(idx,minlength=6) m.bincount(idx,col[:,0])
    m.histc(x,5) m.histc(x,4,-1.0,1.0) F.pad(x,(1,2)) F.pad(x,(1,-1,0,2)) F.pad(x,(1,1),value=2.5) F.pad(X,(1,2),mode='reflect') F.pad(X,(2,1),'replicate') F.pad(X,(1,2),'circular') F.pad(X,(5,1),'reflect')
    F.pixel_shuffle(img,2) F.pixel_unshuffle(img[:,:,:,:4],2) F.one_hot(idx,4) F.one_hot(idx)
"""

_NETWORKS = """
    F.relu(x) F.relu6(x*5) F.leaky_relu(x) F.leaky_relu(x,0.2) F.elu(x) F.elu(x,0.5) F.selu(x) F.celu(x,0.7) F.gelu(x) F.gelu(x,approximate='tanh') F.silu(x) F.mish(x) F.hardtanh(x)
    F.hardtanh(ties,0.0,2.0) F.hardsigmoid(x*3) F.hardswish(x*3) F.hardshrink(x) F.softshrink(x) F.tanhshrink(x) F.softsign(x) F.softplus(x) F.softplus(x*30) F.softplus(x,2.0,3.0) F.softplus(zeros) F.logsigmoid(x)
    F.logsigmoid(x*100) F.prelu(x,w) F.prelu(X,one) F.threshold(x,0.1,5.0) F.glu(x) F.glu(x,1) F.glu(x,0) F.softmin(x,1) F.softmax(x,1) F.log_softmax(x,0) F.normalize(x) F.normalize(x,1.0,0) F.relu(ties) F.relu(odd)
    F.dropout(x,0.5,training=False) F.sigmoid(x) F.tanh(x)
    F.mse_loss(x,y) F.mse_loss(x,y,reduction='sum') F.mse_loss(x,y,reduction='none') F.l1_loss(x,y) F.l1_loss(x,x) F.smooth_l1_loss(x,y) F.smooth_l1_loss(x,y,beta=0.5) F.huber_loss(x,y) F.huber_loss(x,y,delta=0.5)
    F.binary_cross_entropy(u,prob) F.binary_cross_entropy(u,prob,weight=p) F.binary_cross_entropy_with_logits(x,prob) F.binary_cross_entropy_with_logits(x*100,prob) F.binary_cross_entropy_with_logits(x,prob,pos_weight=w*w)
    F.cross_entropy(scores,cls) F.cross_entropy(scores,cls,weight=ch) F.cross_entropy(scores,cls,ignore_index=3) F.cross_entropy(scores,cls,label_smoothing=0.1) F.cross_entropy(scores,cls,weight=ch,label_smoothing=0.2,reduction='sum')
    F.cross_entropy(scores,cls,weight=ch,label_smoothing=0.2) F.cross_entropy(scores,cls,reduction='none') F.cross_entropy(space,cls2) F.cross_entropy(space,cls2,weight=ch) F.cross_entropy(x,prob) F.cross_entropy(x,prob,label_smoothing=0.1)
    F.cross_entropy(x,prob,weight=ch) F.cross_entropy(scores[0],cls[0]) F.cross_entropy(scores,cls,reduction='what') F.nll_loss(F.log_softmax(scores,1),cls) F.nll_loss(scores,cls,weight=ch,reduction='sum') F.nll_loss(space,cls2,ignore_index=-100)
    F.kl_div(x,prob,reduction='batchmean') F.kl_div(x,prob,reduction='sum') F.kl_div(x,y,reduction='sum',log_target=True) F.poisson_nll_loss(x,p) F.poisson_nll_loss(p,p,log_input=False,full=True) F.gaussian_nll_loss(x,y,p) F.gaussian_nll_loss(x,y,p,full=True)
    F.hinge_embedding_loss(x,m.sign(y)) F.margin_ranking_loss(col[:,0],x[:,0],sign,0.1) F.soft_margin_loss(x,m.sign(y)) F.cosine_similarity(x,y) F.cosine_similarity(x,y,0) F.cosine_embedding_loss(x,y,sign) F.pairwise_distance(x,y)
    F.triplet_margin_loss(x,y,p) F.triplet_margin_loss(x,y,p,swap=True)
    F.layer_norm(x,(4,)) F.layer_norm(X,(3,4),x,y) F.layer_norm(x,(3,)) F.rms_norm(x,(4,),w) F.batch_norm(img,None,None,training=True) F.batch_norm(img,sh,ch,ch,sh) F.batch_norm(sig,None,None,ch,sh,True) F.group_norm(img,2,ch,sh) F.group_norm(img,3)
    F.instance_norm(img) F.instance_norm(img,weight=ch,bias=sh) F.embedding(cls,table) F.embedding(cls2*0+2,table) F.embedding(cls,table,padding_idx=3)
    F.conv1d(sig,k1) F.conv1d(sig,k1,bias,2,1) F.conv1d(sig,k1,None,1,2,2) F.conv1d(sig,k1,padding='same') F.conv1d(sig[0],k1,bias) F.conv2d(img,k2) F.conv2d(img,k2,bias,stride=2,padding=1) F.conv2d(img,k2,dilation=2) F.conv2d(img,k2,stride=(2,1),padding=(0,2))
    F.conv2d(img,kg,bias,groups=2) F.conv2d(img,k2[:,:1].reshape(6,1,3,2)[:4],groups=4) F.conv2d(img,k2,padding='same') F.conv2d(img,k2,groups=3) F.conv2d(sig,k2) F.conv_transpose1d(sig,k1.transpose(0,1)) F.conv_transpose1d(sig,k1.transpose(0,1),None,2,1,1)
    F.conv_transpose2d(img,kt) F.conv_transpose2d(img,kt,stride=2,padding=1,output_padding=1) F.conv_transpose2d(img,kt,dilation=2) F.conv_transpose2d(img,kt,None,2,0,0,2) F.max_pool1d(sig,3) F.max_pool2d(img,2) F.max_pool2d(img,3,2,1) F.max_pool2d(img,2,ceil_mode=True)
    F.max_pool2d(img,(2,3),stride=1,dilation=(2,1)) F.max_pool2d(img,2,return_indices=True)[1] F.max_pool2d(F.relu(img),2) F.avg_pool1d(sig,2) F.avg_pool2d(img,2) F.avg_pool2d(img,3,2,1) F.avg_pool2d(img,3,2,1,count_include_pad=False) F.avg_pool2d(img,2,ceil_mode=True)
    F.avg_pool2d(img,2,divisor_override=3) F.adaptive_avg_pool1d(sig,3) F.adaptive_avg_pool2d(img,(3,2)) F.adaptive_avg_pool2d(img,1) F.adaptive_max_pool2d(img,(4,5)) F.lp_pool1d(sig*sig,2.0,3) F.lp_pool2d(img*img,2.0,2) F.unfold(img,(3,2)) F.unfold(img,2,2,1,2) F.fold(F.unfold(img,2,stride=2),(6,5),2,stride=2)
    F.fold(F.unfold(img,(3,2)),(6,5),(3,2)) F.interpolate(img,scale_factor=2) F.interpolate(img,(3,7)) F.interpolate(img,(9,4),mode='bilinear') F.interpolate(img,(9,4),mode='bilinear',align_corners=True) F.interpolate(sig,5,mode='linear') F.interpolate(img,scale_factor=1.5,mode='bilinear')
    F.interpolate(img,(3,2),mode='area') F.interpolate(img,(3,7),mode='nearest-exact') F.scaled_dot_product_attention(q,kk,vv) F.scaled_dot_product_attention(q,kk,vv,is_causal=True) F.scaled_dot_product_attention(q,kk,vv,attn_mask=m.ones(5,6,dtype=m.bool).tril(1))
    F.scaled_dot_product_attention(q,kk,vv,scale=0.3) F.conv2d(img,k2,stride=0) F.conv3d(img.reshape(1,2,4,6,5),kg.reshape(3,2,2,3,2)) F.max_pool2d(img,9)
"""

_LINALG = """
    L.solve(A,B) L.solve(A[0],B[0][:,0]) L.solve(A,B[:,:,0]) L.solve(A,B.mT,left=False) L.solve(A[0],B) L.solve(rect,B) L.solve_triangular(A.tril(),B,upper=False) L.solve_triangular(A,B,upper=True) L.solve_triangular(A,B.mT,upper=True,left=False)
    L.solve_triangular(A,B,upper=False,unitriangular=True) L.inv(A) m.inverse(A[0]) L.det(A) m.det(A[0]) L.slogdet(A)[0] L.slogdet(A)[1] m.logdet(A) m.slogdet(-A)[1] L.inv(rect) L.cholesky(spd) L.cholesky(spd,upper=True) m.cholesky(spd) L.cholesky(-spd)
    L.qr(rect)[0]@L.qr(rect)[1] abs(L.qr(rect)[1]) L.qr(rect.mT)[0]@L.qr(rect.mT)[1] L.svd(rect,full_matrices=False)[1] L.svdvals(rect) (lambda u:u[0]@m.diag_embed(u[1].exp())@u[2])(L.svd(rect,full_matrices=False)) L.svd(rect.mT,full_matrices=False)[1]
    L.eigh(spd)[0] L.eigvalsh(spd) (lambda e:e[1]@m.diag_embed(e[0].log())@e[1].mT)(L.eigh((spd+spd.mT)/2)) L.norm(x) L.norm(x,1) L.norm(x,2) L.norm(x,'nuc') L.norm(x,'fro') L.norm(X,dim=(1,2)) L.norm(X,2,dim=1) L.norm(w,3) L.norm(x,float('inf'))
    L.norm(x,-1,keepdim=True) L.vector_norm(x) L.vector_norm(x,1,1) L.matrix_norm(X) L.matrix_norm(X,2) L.matrix_norm(X,1) L.matrix_norm(X,'nuc',keepdim=True) L.matrix_power(A,3) L.matrix_power(A,0) L.matrix_power(A,-2) m.matrix_power(A[0],5)
    L.lstsq(rect,rect[:,:,:2])[0] L.lstsq(rect,m.cat([B,B[:,:1]],1))[0] L.pinv(rect) L.pinv(rect.mT) m.pinverse(A[0]) L.matrix_exp(A/3) m.matrix_exp(A[0]/3) L.cond(A) L.cond(A,1) L.matrix_rank(rect) L.cross(A,A.flip(1)) m.cholesky_solve(B,L.cholesky(spd))
    L.diagonal(X) m.svd(rect)[1] m.qr(A)[0] L.solve(A[:0],B[:0]) L.solve(A[0]*0,B[0])
    T.fft(x) T.fft(c) T.fft(c,6) T.fft(c,3,0) T.fft(c,norm='ortho') T.ifft(c) T.ifft(x,norm='forward') T.rfft(x) T.rfft(x,5) T.rfft(x,6,0,'ortho') T.irfft(c) T.irfft(c,5) T.irfft(c,6,norm='ortho') T.fft2(x) T.fft2(c) T.ifft2(c) T.fftn(X) T.ifftn(X)
    T.fftn(X,dim=(0,2)) T.fftn(X,s=(2,5)) T.rfft2(x) T.rfftn(X) T.irfft2(c) T.irfftn(c) T.irfft2(c,s=(3,5)) T.hfft(c) T.hfft(c,5) T.ihfft(x) T.fftshift(x) T.ifftshift(x,1) T.fftfreq(5) T.rfftfreq(6,0.5) T.rfft(c) abs(T.rfft(x)) T.fft(z) T.fft(i) T.irfft(T.rfft(x)*2)
"""

_CREATION = """
    m.zeros(2,3) m.ones((2,3)) m.full((2,),7) m.full((2,),1.5) m.full((2,),True) m.arange(5) m.arange(1,4) m.arange(0,1,0.25) m.arange(5.0) m.arange(5,1,-2) m.linspace(0,1,5) m.linspace(3,-1,4,dtype=m.float64) m.logspace(0,2,3) m.eye(3) m.eye(2,4)
    m.zeros_like(x) m.ones_like(i) m.full_like(x,2) m.tensor([1,2]) m.tensor([1.5,2]) m.tensor(True) m.tensor([[1,2],[3,4]],dtype=m.float64) m.tensor(1j) m.zeros(2,dtype=m.int8) m.empty(0,3) m.zeros_like(x,dtype=m.int64)
    x+1 i+1 i+1.5 b+1 b*2.5 u8+1 u8*1.5 i8+i i+s x+i b+b b*b f32+f64 f32*2 f32*s i/2 i//2 -b i*True m.add(i,x) m.arange(3)/2 m.exp(i) m.sqrt(j) m.sin(b) i.mean() i.float().mean() m.mean(i) x.var(5) x.sum(2) m.softmax(x,3) m.cat([]) m.stack([])
"""

_IN_PLACE = """
    r.add_(2) r.add_(y,alpha=2) r.sub_(y) r.mul_(y) r.div_(p) r.pow_(2) r.neg_() r.exp_() r.abs_() r.sqrt_() r.sigmoid_() r.tanh_() r.relu_() r.clamp_(-0.5,0.5) r.clamp_(min=0) r.clamp_min_(0.1) r.floor_() r.round_() r.trunc_() r.frac_() r.reciprocal_() r.rsqrt_()
    r.square_() r.remainder_(p) r.fmod_(p) r.floor_divide_(p) r.fill_(2.5) r.fill_(s) r.zero_() r.copy_(y) r.copy_(w) r.copy_(i) r.masked_fill_(b,1.5) r.masked_scatter_(b,y) r.index_add_(0,idx,y) r.index_copy_(0,idx[:2],y[:2]) r.index_fill_(0,idx,1.5) r.index_put_((idx[:2],idx[:2]),w[:2])
    r.scatter_(1,si[:,:1],y) r.scatter_(1,si[:,:1],2.5) r.scatter_add_(1,si,y) r.lerp_(y,0.5) r.addcmul_(y,p) r.addcdiv_(y,p,value=0.5) r.addmm_(x,m.eye(4,dtype=x.dtype)) r.tril_() r.triu_(1) r.cumsum_(1) r.cumprod_(1) r.nan_to_num_() r.logit_(0.1) r.sinc_() r.xlogy_(p) r.copysign_(y)
    r.deg2rad_() r.expm1_() r.log1p_() r.erf_() r.atan2_(p) r.hypot_(p) r.sign_() r.ceil_() r.sin_() r.cos_() r.add_(X) r.eq_(y) r.fill_diagonal_(3.0) r.bitwise_and_(r) i.clone().add_(2) i.clone().add_(2.5) i.clone().mul_(j) b.clone().logical_not_() i.clone().bitwise_and_(j) b.clone().fill_(1) i.clone().clamp_(0,2)
"""

_STATEMENTS = """
    r[0]=1.5;r | r[0]=y[1];r | r[:,1:3]=y[:,:2];r | r[b]=0.5;r | r[idx[:2]]=y[:2];r | r[idx[:2],idx[:2]]=w[:2];r | r[:,idx[:2]]=y[:,:2];r | r[1:]+=y[:2];r | r[0,1]*=3;r | r[...,-1]=s;r | v=r[0];v.mul_(2);r | v=r[:,1];v+=y[:,0];r | v=r.T;v[1]=2.0;r
    v=r.reshape(2,6);v[0]=y.reshape(2,6)[1];r | v=r.view(4,3);v.add_(1);r | v=r[1:];v[0]=0.0;v.mul_(y[1:]);r | v=r.flip(0);r.mul_(y);v+r | r+=y;r | r*=p;r | r-=1;r | r/=p;r | r**=2;r | v=r.diagonal();v.add_(1);r | v=r.unsqueeze(0);v[0,0]=3.0;r | v=r.narrow(1,1,2);v.zero_();r
    v=r.transpose(0,1);v.copy_(y.T);r | q=r*2;q[0]=y[0];q*r | q=r.exp();q.add_(1);q | q=r.sin();q.mul_(2);q | v=r.unbind(1)[2];v.fill_(4.0);r | v=r.split(2,1)[1];v.mul_(y[:,:2]);r | v=r.permute(1,0);v[2,1]=5.0;r | v=r.squeeze();v[0]=2.0;r | r[r>0]=0.0;r | r[r>0]=y[r>0];r | r[1,:]=r[0,:];r | r.T.add_(1);r
    r[:0]=1.0;r | r[::2,::3]=7.0;r | r[idx[:2],1:3]=y[:2,:2];r | r[None,0]=w;r
"""


def _split(text: str) -> list[str]:
    return [case for line in text.split("\n") for case in _words(line)]


def _words(line: str) -> list[str]:
    """The expressions of a line: separated by spaces outside of brackets and quotes."""
    words, depth, quoted, word = [], 0, False, ""
    for sign in line + " ":
        quoted ^= sign == "'"
        depth += (sign in "([{") - (sign in ")]}")
        if sign == " " and depth == 0 and not quoted:
            if word:
                words.append(word)
            word = ""
        else:
            word += sign
    return words


@cache
def groups() -> dict[str, list[str]]:
    """The cases by subject."""
    elementwise = [case for line in _elementwise() for case in ([line] if not line.startswith("        ") else _words(line))]
    statements = [s.strip() for line in _STATEMENTS.split("\n") for s in line.split("|")]
    return {
        "elementwise": [c for c in elementwise if c.strip()], "reductions": _split(_REDUCTIONS),
        "products": _split(_PRODUCTS), "shapes": _split(_SHAPES), "networks": _split(_NETWORKS),
        "linalg": _split(_LINALG), "creation": _split(_CREATION),
        "in_place": [*_split(_IN_PLACE), *filter(None, statements)],
    }


def cases() -> list[str]:
    """All cases, each once."""
    return list(dict.fromkeys(case for group in groups().values() for case in group))


def names_in(case: str) -> list[str]:
    """The samples that a case names, in order; `r` stands for a clone of `x`."""
    tree = ast.parse(case)
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {a.arg for n in ast.walk(tree) if isinstance(n, ast.Lambda) for a in n.args.args}
    found = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name)]
    found = ["x" if name == "r" else name for name in found if name == "r" or name not in bound]
    return [name for name in dict.fromkeys(found) if name in SAMPLES]


def subject(case: str) -> str:
    """The name that a case is about: the outermost call, or the operator."""
    tree = ast.parse(case.split(";")[0], mode="exec").body[0]
    node: Any = tree.value if isinstance(tree, ast.Expr) else None
    while isinstance(node, ast.Subscript) and isinstance(node.value, (ast.Call, ast.Subscript)):
        node = node.value
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Attribute):
            space = {"F": "nn.functional.", "L": "linalg.", "T": "fft."}.get(getattr(function.value, "id", ""), "")
            return space + function.attr
        return getattr(function, "id", "matrix functions")
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return "x[...]"
    kinds = {ast.BinOp: "operators", ast.Compare: "comparisons", ast.UnaryOp: "operators"}
    return kinds.get(type(node), "in-place statements")


def run(case: str, module: Any, given: dict[str, Any]) -> Any:
    """Evaluate a case on a module's tensors."""
    space = {"m": module, "F": module.nn.functional, "L": module.linalg, "T": module.fft, **given}
    if "r" in {n.id for n in ast.walk(ast.parse(case)) if isinstance(n, ast.Name)}:
        space["r"] = given["x"].clone()
    *statements, last = case.split(";")
    exec(";".join(statements), space)
    return eval(last, space)
