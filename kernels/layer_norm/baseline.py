import torch


def layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-5
) -> torch.Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean = wide.mean(dim=1, keepdim=True)
    centred = wide - mean
    variance = (centred * centred).mean(dim=1, keepdim=True)
    normalised = centred * torch.rsqrt(variance + eps)
    scaled = normalised * weight
    shifted = scaled + bias
    return shifted.to(x.dtype)
